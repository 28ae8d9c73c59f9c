import asyncio
import socket
import threading
from ipaddress import ip_address
from typing import Any

import pytest

from service.webhooks.address_ranges import Address
from service.webhooks.targets import MAX_URL_LENGTH, Resolver, Target, TargetRefused, Targets
from tests.webhooks.addresses import EVERY_REFUSED


def refusal(url: str, *, allow_private: bool = False) -> str:
    with pytest.raises(TargetRefused) as refused:
        Target.parse(url, allow_private=allow_private)
    assert refused.value.detail
    return refused.value.reason


class TestReading:
    @pytest.mark.parametrize(
        ("url", "usual"),
        [
            ("https://erp.example.com/hooks", "https://erp.example.com/hooks"),
            ("https://ERP.Example.com", "https://erp.example.com/"),
            ("https://erp.example.com:443/", "https://erp.example.com/"),
            ("https://erp.example.com:8443/a?b=c&d", "https://erp.example.com:8443/a?b=c&d"),
            ("https://erp.example.com?x=1", "https://erp.example.com/?x=1"),
            ("https://xn--bcher-kva.example/%C3%BC", "https://xn--bcher-kva.example/%C3%BC"),
            ("https://8.8.8.8/hook", "https://8.8.8.8/hook"),
            ("https://[2606:4700:4700::1111]:8443/", "https://[2606:4700:4700::1111]:8443/"),
            ("https://a-b.c1.example.com/hook@home:1", "https://a-b.c1.example.com/hook@home:1"),
        ],
    )
    def test_what_is_called(self, url: str, usual: str) -> None:
        assert str(Target.parse(url)) == usual

    @pytest.mark.parametrize(
        "url",
        [
            "", "erp.example.com", "//erp.example.com/", "ftp://erp.example.com/", "HTTPS://erp.example.com/",
            "https:///hooks", "https://", "https:/erp.example.com", "https:erp.example.com",
            "https://user@erp.example.com/", "https://user:secret@erp.example.com/", "https://@erp.example.com/",
            "https://erp.example.com#x", "https://erp.example.com/#", "https://erp.example.com/a b",
            "https://erp.example.com\\@10.0.0.1/", "https://erp.example.com/\n", "https://erp.example.com/\x00",
            " https://erp.example.com/", "https://erp.example.com/ ", "https://bücher.example/",
            "https://erp.example.com/ü", "https://erp.example.com/%zz", "https://erp.example.com:/",
            "https://erp.example.com:0443/", "https://erp.example.com:-1/", "https://erp.example.com:1e3/",
            "https://erp..example.com/", "https://.example.com/", "https://erp.example.com./",
            "https://-erp.example.com/", "https://erp-.example.com/", "https://erp_1.example.com/",
            "https://" + "a" * 64 + ".example.com/", "https://" + ".".join(["a" * 50] * 6) + "/",
            "https://[::1", "https://::1/", "https://[1.2.3.4]/", "https://[fe80::1%25eth0]/",
            "https://[::ffff:127.0.0.1%1]/", "https://[v1.x]/", "https://[]/", "https://[:::1]/",
            "https://erp.example.com/" + "a" * MAX_URL_LENGTH,
        ],
    )  # fmt: skip
    def test_what_is_no_target(self, url: str) -> None:
        assert refusal(url) == "malformed"
        assert refusal(url, allow_private=True) == "malformed"

    @pytest.mark.parametrize(
        "host",
        [
            "2130706433", "0x7f000001", "0x7f.1", "127.1", "127.0.1", "0177.0.0.1", "017700000001",
            "0x7f.0.0.0x1", "00127.0.0.1", "127.0.0.01", "0", "0x", "1", "256.1.1.1", "1.2.3.4.5", "10.1",
            "4294967296", "a.1", "a.0x1f", "0xA.0.0.1",
        ],
    )  # fmt: skip
    def test_an_odd_spelling_of_an_address_is_none(self, host: str) -> None:
        assert refusal(f"https://{host}/") == "malformed"
        assert refusal(f"https://{host}/", allow_private=True) == "malformed"

    @pytest.mark.parametrize("address", [each for each in EVERY_REFUSED if "%" not in each])
    def test_an_address_that_is_not_public(self, address: str) -> None:
        url = f"https://[{address}]/" if ":" in address else f"https://{address}/"
        assert refusal(url) == "private_address"
        assert Target.parse(url, allow_private=True).literal == ip_address(address)

    @pytest.mark.parametrize("host", ["localhost", "db", "tradepost-postgresql"])
    def test_a_name_of_one_label_is_the_inner_networks(self, host: str) -> None:
        assert refusal(f"https://{host}/") == "private_address"
        assert Target.parse(f"https://{host}/", allow_private=True).host == host

    def test_plain_http_is_for_private_ones(self) -> None:
        assert refusal("http://erp.example.com/") == "plain_http"
        assert Target.parse("http://erp.example.com/", allow_private=True).port == 80
        assert (
            str(Target.parse("http://erp.example.com:80/", allow_private=True)) == "http://erp.example.com/"
        )

    @pytest.mark.parametrize(
        ("port", "good"),
        [(443, True), (1024, True), (65535, True), (80, False), (25, False), (1023, False)],
    )
    def test_ports(self, port: int, good: bool) -> None:
        url = f"https://erp.example.com:{port}/"
        assert Target.parse(url, allow_private=True).port == port
        if good:
            assert Target.parse(url).port == port
        else:
            assert refusal(url) == "bad_port"

    def test_a_port_that_there_is_not(self) -> None:
        assert refusal("https://erp.example.com:65536/", allow_private=True) == "bad_port"

    def test_the_address_takes_the_hosts_place(self) -> None:
        target = Target.parse("https://erp.example.com:8443/a?b=c")
        assert target.url_at(ip_address("8.8.8.8")) == "https://8.8.8.8:8443/a?b=c"
        assert target.url_at(ip_address("2606:4700::1")) == "https://[2606:4700::1]:8443/a?b=c"
        assert target.authority == "erp.example.com:8443"
        assert Target.parse("https://[2606:4700::1]/").authority == "[2606:4700::1]"


def answering(*addresses: str) -> Any:
    async def resolve(host: str) -> list[Address]:
        return [ip_address(address) for address in addresses]

    return resolve


class TestChecking:
    async def test_all_that_a_host_has(self) -> None:
        targets = Targets(answering("8.8.8.8", "2606:4700::1"))
        target = await targets.check("https://erp.example.com/")
        assert await targets.resolve(target) == [ip_address("8.8.8.8"), ip_address("2606:4700::1")]

    @pytest.mark.parametrize("address", EVERY_REFUSED)
    async def test_one_bad_address_is_enough(self, address: str) -> None:
        for found in ([address], ["8.8.8.8", address], [address, "8.8.8.8"]):
            with pytest.raises(TargetRefused) as refused:
                await Targets(answering(*found)).check("https://erp.example.com/")
            assert refused.value.reason == "private_address"
            assert address not in refused.value.detail

    async def test_a_host_without_an_address(self) -> None:
        with pytest.raises(TargetRefused) as refused:
            await Targets(answering()).check("https://erp.example.com/")
        assert refused.value.reason == "unresolvable"

    async def test_where_private_ones_are_allowed_the_host_need_not_be_there(self) -> None:
        target = await Targets(answering(), allow_private=True).check("http://erp:8080/")
        assert target.port == 8080

    async def test_an_address_needs_no_look_up(self) -> None:
        targets = Targets(answering())
        target = await targets.check("https://8.8.8.8/")
        assert await targets.resolve(target) == [ip_address("8.8.8.8")]


class TestResolver:
    """The system's own, behind it what it answers."""

    @pytest.fixture
    def system(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        class System:
            def __init__(self) -> None:
                self.asked: list[str] = []
                self.answers: Any = []
                self.goes_on = threading.Event()

            def getaddrinfo(self, host: str, *_: Any, **__: Any) -> Any:
                self.asked.append(host)
                assert self.goes_on.wait(10)
                if isinstance(self.answers, Exception):
                    raise self.answers
                return self.answers

        system = System()
        system.goes_on.set()
        monkeypatch.setattr(socket, "getaddrinfo", system.getaddrinfo)
        return system

    async def test_every_address_once(self, system: Any) -> None:
        v6, v4 = (socket.AF_INET6, ("2606:4700::1", 0, 0, 0)), (socket.AF_INET, ("8.8.8.8", 0))
        system.answers = [(family, 1, 6, "", where) for family, where in (v6, v4, v6)]
        resolver = Resolver()
        assert await resolver("erp.example.com") == [ip_address("2606:4700::1"), ip_address("8.8.8.8")]
        resolver.close()

    async def test_the_scope_of_an_address_is_seen(self, system: Any) -> None:
        system.answers = [
            (socket.AF_INET6, 1, 6, "", ("fe80::1", 0, 0, 3)),
            (socket.AF_INET6, 1, 6, "", ("fe80::1%eth0", 0, 0, 3)),
        ]
        resolver = Resolver()
        assert [str(each) for each in await resolver("erp.example.com")] == ["fe80::1%3", "fe80::1%eth0"]
        resolver.close()

    @pytest.mark.parametrize("fault", [socket.gaierror(-2, "unknown"), OSError(), UnicodeError()], ids=repr)
    async def test_what_fails_has_no_address(self, system: Any, fault: Exception) -> None:
        system.answers = fault
        resolver = Resolver()
        assert await resolver("erp.example.com") == []
        resolver.close()

    async def test_a_name_server_that_hangs_is_not_waited_for_and_holds_one_thread(self, system: Any) -> None:
        system.goes_on.clear()
        system.answers = [(socket.AF_INET, 1, 6, "", ("8.8.8.8", 0))]
        resolver = Resolver(seconds=0.05)
        assert await asyncio.gather(*(resolver("slow.example.com") for _ in range(40))) == [[]] * 40
        assert system.asked == ["slow.example.com"]
        later = asyncio.create_task(Resolver(seconds=10)("slow.example.com"))
        system.goes_on.set()
        assert await later == [ip_address("8.8.8.8")]
        resolver.close()
