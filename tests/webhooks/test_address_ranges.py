from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from service.webhooks.address_ranges import REFUSED_V4, REFUSED_V6, UNICAST_V6, Address, is_public
from tests.webhooks.addresses import EVERY_REFUSED, PUBLIC


@pytest.mark.parametrize("address", PUBLIC)
def test_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", EVERY_REFUSED)
def test_is_refused(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("block", [*REFUSED_V4, *REFUSED_V6], ids=str)
def test_a_block_ends_where_it_says(block: object) -> None:
    assert not is_public(block[0])  # type: ignore[index]
    assert not is_public(block[-1])  # type: ignore[index]


def test_it_refuses_whatever_the_standard_library_refuses() -> None:
    """And more: of what `is_global` lets through, multicast and the ways round it are refused."""
    every: list[Address] = [IPv4Address(number << 8) for number in range(0, 1 << 24, 251)]
    every += [IPv6Address((number << 112) + 1) for number in range(0, 1 << 16, 3)]
    assert [address for address in every if is_public(address) and not address.is_global] == []
    for text in ("64:ff9b::7f00:1", "192.88.99.1", "ff0e::1", "224.0.1.1"):
        assert not is_public(ip_address(text))


def test_no_block_of_ipv6_is_named_in_vain() -> None:
    assert [block for block in REFUSED_V6 if not block.subnet_of(UNICAST_V6)] == []
