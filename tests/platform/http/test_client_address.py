"""Whom a request is from, by the connection and what trusted proxies have written down."""

from ipaddress import ip_network

import pytest

from service.platform.config.types import MOST_HOPS
from service.platform.http.addresses import client_address

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("192.0.2.1/32"), ip_network("2001:db8:ffff::/48"))
PROXY, INNER, CLIENT, STRANGER = "10.0.0.1", "10.0.0.2", "198.51.100.7", "203.0.113.9"


def address(peer: str | None, *forwarded: str) -> str | None:
    return client_address(peer, [each.encode("latin-1") for each in forwarded], TRUSTED)


class TestWhoIsBelieved:
    def test_without_trusted_proxies_the_header_says_nothing(self) -> None:
        assert client_address(PROXY, [CLIENT.encode()], ()) == PROXY

    def test_nor_from_a_peer_that_is_not_trusted(self) -> None:
        assert address(STRANGER, CLIENT) == STRANGER

    def test_a_trusted_peer_without_the_header_is_the_client(self) -> None:
        assert address(PROXY) == PROXY
        assert address(PROXY, "") == PROXY

    def test_a_trusted_peer_says_who_asked_it(self) -> None:
        assert address(PROXY, CLIENT) == CLIENT
        assert address("2001:db8:ffff::1", "2001:db8::7") == "2001:db8::7"

    def test_the_right_most_untrusted_one_counts(self) -> None:
        """What stands left of it was in the request when the outermost trusted proxy got it."""
        assert address(PROXY, f"{STRANGER}, {CLIENT}, {INNER}") == CLIENT
        assert address(PROXY, f"{INNER}, {CLIENT}") == CLIENT

    def test_several_headers_are_one_list(self) -> None:
        assert address(PROXY, STRANGER, CLIENT, INNER) == CLIENT

    def test_of_trusted_ones_alone_the_left_most(self) -> None:
        assert address(PROXY, f"192.0.2.1,  {INNER}") == "192.0.2.1"


class TestWhatCannotBeRead:
    @pytest.mark.parametrize(
        "entry",
        [
            "unknown", "_hidden", "shop.example", "198.51.100.256", "1.2.3", "0x7f.0.0.1", "::1%eth0", "[::1",
            "[10.0.0.1]", "[::1]8080", "198.51.100.7:http", "198.51.100.7:", "\u00b2.0.0.1", "x" * 100,
            "2001:db8::7:80:90::1",
        ],
    )  # fmt: skip
    def test_ends_the_walk_at_the_proxy_that_passed_it_on(self, entry: str) -> None:
        assert address(PROXY, f"{CLIENT}, {entry}, {INNER}") == INNER
        assert address(PROXY, f"{CLIENT}, {entry}") == PROXY

    def test_an_empty_entry_is_none(self) -> None:
        assert address(PROXY, f"{CLIENT}, , {INNER},") == CLIENT

    def test_no_longer_chain_is_walked(self) -> None:
        assert address(PROXY, ", ".join([CLIENT, *[INNER] * (MOST_HOPS - 1)])) == CLIENT
        assert address(PROXY, ", ".join([CLIENT, *[INNER] * MOST_HOPS])) == INNER

    def test_a_peer_without_an_address_stays_what_it_is(self) -> None:
        assert address(None, CLIENT) is None
        assert address("", CLIENT) == ""
        assert address("testclient", CLIENT) == "testclient"


class TestForms:
    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("198.51.100.7", "198.51.100.7"),
            ("198.51.100.7:50000", "198.51.100.7"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("[::ffff:c633:6407]:443", "198.51.100.7"),
            ("2001:DB8:0:0::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
        ],
    )
    def test_one_address_has_one_form(self, written: str, read: str) -> None:
        assert address(PROXY, written) == read

    def test_that_of_the_peer_too(self) -> None:
        """A socket that listens on IPv6 sees IPv4 clients mapped, and proxies among them."""
        assert address("::ffff:203.0.113.9") == "203.0.113.9"
        assert address("::ffff:10.0.0.1", CLIENT) == CLIENT
