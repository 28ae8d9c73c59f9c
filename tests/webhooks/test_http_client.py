import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service import __version__
from service.webhooks.address_ranges import Address
from service.webhooks.deliveries.http_client import EXCERPT_BYTES, TIMEOUT_SECONDS, DeliveryClient
from service.webhooks.targets import Targets
from tests.server.process import free_port
from tests.webhooks.addresses import EVERY_REFUSED
from tests.webhooks.receiver import (
    Answering,
    Receiver,
    answer,
    drip,
    endless_headers,
    hang,
    hang_up,
    never_ending,
    nonsense,
    receiver,
)

BODY = b'{"type":"ping"}'


class Dns:
    """Resolves every name to the given addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[Address]:
        self.asked.append(host)
        return [ip_address(address) for address in self.addresses]


@pytest.fixture
async def erp() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture
async def client() -> AsyncIterator[DeliveryClient]:
    """That may call this machine, and is soon impatient."""
    made = DeliveryClient(Targets(Dns("127.0.0.1"), allow_private=True), total=0.5)
    yield made
    await made.aclose()


class TestRequest:
    async def test_what_the_receiver_gets(self, erp: Receiver, client: DeliveryClient) -> None:
        url = f"http://erp.example.com:{erp.port}/hooks?tenant=1"
        answered = await client.post(url, {"webhook-id": "evt_1"}, BODY)
        assert (answered.status, answered.excerpt, answered.fault) == (200, b"ok", None)
        [request] = erp.requests
        assert request.line == "POST /hooks?tenant=1 HTTP/1.1"
        assert request.headers == {
            "host": f"erp.example.com:{erp.port}",
            "content-type": "application/json",
            "content-length": "15",
            "user-agent": f"Tradepost-Webhooks/{__version__}",
            "accept": "*/*",
            "accept-encoding": "identity",
            "connection": "close",
            "webhook-id": "evt_1",
        }
        assert request.body == BODY

    async def test_no_cookie_comes_back(self, erp: Receiver, client: DeliveryClient) -> None:
        erp.otherwise = answer(200, Set_Cookie="a=b; Path=/")
        for _ in range(2):
            await client.post(erp.url, {}, BODY)
        assert ["cookie" in request.headers for request in erp.requests] == [False, False]

    async def test_no_proxy_of_the_environment_is_asked(
        self, erp: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with receiver() as proxy:
            for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            client = DeliveryClient(Targets(allow_private=True))
            assert (await client.post(erp.url, {}, BODY)).status == 200
            await client.aclose()
            assert (len(erp.requests), len(proxy.requests)) == (1, 0)

    async def test_a_redirect_is_not_followed(self, erp: Receiver, client: DeliveryClient) -> None:
        async with receiver() as elsewhere:
            for status in (301, 302, 303, 307, 308):
                erp.otherwise = answer(status, Location=elsewhere.url)
                answered = await client.post(erp.url, {}, BODY)
                assert (answered.status, answered.fault) == (status, None)
            assert elsewhere.requests == []

    async def test_an_answer_is_kept_to_its_first_kilobyte(
        self, erp: Receiver, client: DeliveryClient
    ) -> None:
        erp.otherwise = answer(500, b"x" * 5_000, Retry_After="120")
        answered = await client.post(erp.url, {}, BODY)
        assert answered.excerpt == b"x" * EXCERPT_BYTES
        assert answered.retry_after == "120"

    async def test_connections_are_not_kept(self, erp: Receiver, client: DeliveryClient) -> None:
        """Another name may have the same address, and must not find the first one's connection."""
        await client.post(f"http://a.example.com:{erp.port}/", {}, BODY)
        await client.post(f"http://b.example.com:{erp.port}/", {}, BODY)
        assert [request.headers["host"].partition(":")[0] for request in erp.requests] == [
            "a.example.com",
            "b.example.com",
        ]
        assert client._client._transport._pool.connections == []  # type: ignore[attr-defined]


class TestMisbehaviour:
    @pytest.mark.parametrize(
        ("how", "status", "fault"),
        [
            (hang, None, "timeout"),
            (hang_up, None, "protocol"),
            (nonsense, None, "protocol"),
            (endless_headers, None, "protocol"),
            (drip(200), 200, None),
            (drip(500), 500, None),
            (never_ending, 200, None),
        ],
        ids=["hang", "hang up", "nonsense", "headers", "drip", "drip 500", "never ending"],
    )
    async def test_ends_with_its_reason(
        self, erp: Receiver, client: DeliveryClient, how: Answering, status: int | None, fault: str | None
    ) -> None:
        erp.otherwise = how
        async with asyncio.timeout(30):
            answered = await client.post(erp.url, {}, BODY)
        assert (answered.status, answered.fault) == (status, fault)
        assert len(answered.excerpt) <= EXCERPT_BYTES

    async def test_the_receiver_refuses_the_connection(self, client: DeliveryClient) -> None:
        answered = await client.post(f"http://127.0.0.1:{free_port()}/", {}, BODY)
        assert (answered.status, answered.fault) == (None, "connect")

    async def test_one_of_several_addresses_answers(self, erp: Receiver) -> None:
        client = DeliveryClient(Targets(Dns("127.0.0.3", "::1", "127.0.0.1"), allow_private=True))
        answered = await client.post(f"http://erp.example.com:{erp.port}/", {}, BODY)
        assert answered.status == 200
        await client.aclose()

    def test_ten_seconds_are_all(self) -> None:
        assert DeliveryClient(Targets())._total == TIMEOUT_SECONDS == 10.0

    async def test_a_look_up_that_hangs_counts(self) -> None:
        async def hanging(_: str) -> list[Address]:
            await asyncio.sleep(60)
            return []

        client = DeliveryClient(Targets(hanging, allow_private=True), total=0.05)
        assert (await client.post("http://erp.example.com/", {}, BODY)).fault == "timeout"
        await client.aclose()


class TestAddresses:
    async def test_an_answer_that_has_changed_since_registration(self, erp: Receiver) -> None:
        """DNS rebinding: the port is this machine's, and it hears nothing."""
        dns = Dns("93.184.216.34")
        targets = Targets(dns)
        client = DeliveryClient(targets)
        async with receiver(tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) as inner:
            url = f"https://erp.example.com:{inner.port}/"
            await targets.check(url)
            for found in (["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:127.0.0.1"]):
                dns.addresses = tuple(found)
                answered = await client.post(url, {}, BODY)
                assert (answered.status, answered.fault) == (None, "private_address")
            assert (inner.requests, inner.most_under_way) == ([], 0)
        assert dns.asked == ["erp.example.com"] * 4
        await client.aclose()

    @pytest.mark.parametrize("address", EVERY_REFUSED)
    async def test_none_of_these_is_connected_to(self, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        async def forbidden(*_: Any, **__: Any) -> None:
            pytest.fail("a connection is made")

        monkeypatch.setattr("anyio.connect_tcp", forbidden)
        client = DeliveryClient(Targets(Dns(address)))
        answered = await client.post("https://erp.example.com/", {}, BODY)
        assert answered.fault == "private_address"
        await client.aclose()

    async def test_it_is_the_checked_address_that_is_connected_to(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By number: the name is not resolved a second time."""
        called: list[tuple[str, int]] = []

        async def connect(remote_host: str, remote_port: int, **_: Any) -> None:
            called.append((remote_host, remote_port))
            raise OSError("out of reach")

        monkeypatch.setattr("anyio.connect_tcp", connect)
        dns = Dns("93.184.216.34", "2606:4700::1")
        client = DeliveryClient(Targets(dns))
        answered = await client.post("https://erp.example.com:8443/", {}, BODY)
        assert (answered.fault, dns.asked) == ("connect", ["erp.example.com"])
        assert called == [("93.184.216.34", 8443), ("2606:4700::1", 8443)]
        await client.aclose()

    @pytest.mark.parametrize(
        ("url", "fault"),
        [
            ("http://8.8.8.8/", "plain_http"),
            ("https://8.8.8.8:22/", "bad_port"),
            ("https://a@b/", "malformed"),
        ],
    )
    async def test_what_settings_no_longer_allow_is_not_called(self, url: str, fault: str) -> None:
        client = DeliveryClient(Targets(Dns()))
        assert (await client.post(url, {}, BODY)).fault == fault
        await client.aclose()


class Authority:
    """Makes certificates that a context trusts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority")])
        self.certificate = self._signed(self.name, self.key, x509.BasicConstraints(ca=True, path_length=None))
        self.trust = ssl.create_default_context(
            cadata=self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        )

    def _signed(self, subject: x509.Name, key: Any, *extensions: x509.ExtensionType) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            self.name,
            subject,
            key.public_key(),
            x509.random_serial_number(),
            now - timedelta(1),
            now + timedelta(1),
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def server(self, *names: x509.GeneralName) -> ssl.SSLContext:
        """The context of a server that has these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(
            x509.Name([]),
            key,
            x509.SubjectAlternativeName(names),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
        )
        file = self.folder / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


class TestTls:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path)

    async def test_the_certificate_is_the_names(self, authority: Authority) -> None:
        client = DeliveryClient(Targets(Dns("127.0.0.1"), allow_private=True), trust=authority.trust)
        async with receiver(tls=authority.server(x509.DNSName("erp.example.com"))) as erp:
            good = await client.post(f"https://erp.example.com:{erp.port}/", {}, BODY)
            other = await client.post(f"https://other.example.com:{erp.port}/", {}, BODY)
            bare = await client.post(erp.url, {}, BODY)
            assert (good.status, good.fault) == (200, None)
            assert [(each.status, each.fault) for each in (other, bare)] == [(None, "tls")] * 2
            [request] = erp.requests
            assert request.server_name == "erp.example.com"
            assert request.headers["host"] == f"erp.example.com:{erp.port}"
        await client.aclose()

    async def test_of_an_address_it_is_the_addresss(self, authority: Authority) -> None:
        client = DeliveryClient(Targets(allow_private=True), trust=authority.trust)
        async with receiver(tls=authority.server(x509.IPAddress(ip_address("127.0.0.1")))) as erp:
            assert (await client.post(erp.url, {}, BODY)).status == 200
        await client.aclose()

    async def test_an_unknown_certificate_authority(self, authority: Authority) -> None:
        client = DeliveryClient(Targets(Dns("127.0.0.1"), allow_private=True))
        async with receiver(tls=authority.server(x509.DNSName("erp.example.com"))) as erp:
            answered = await client.post(f"https://erp.example.com:{erp.port}/", {}, BODY)
            assert (answered.fault, erp.requests) == ("tls", [])
        await client.aclose()
