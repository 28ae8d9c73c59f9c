"""A database's address that does not work: its operator is told why, by name, and never a password."""

import asyncio
import datetime as dt
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.platform.config import generate_key
from tests.helpers.relay import both_ways
from tests.server.process import cloned_database, free_port, get, started, statement, tradepost

SECRET = "wrong-Pa55word"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with cloned_database() as url:
        yield url


def changed(url: str, **parts: str) -> str:
    return urlunsplit(urlsplit(url)._replace(**parts))


def netloc(url: str, *, password: str | None = None, host: str = "127.0.0.1", port: int | None = None) -> str:
    parts = urlsplit(url)
    return f"{parts.username}:{password or parts.password}@{host}:{port or parts.port}"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority (`ca.pem`), and what it says of the server (`server.pem`, with its key)."""
    folder = tmp_path_factory.mktemp("certificates")
    now = dt.datetime.now(dt.UTC)
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Tests")])

    def certificate(
        name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder().subject_name(name).issuer_name(authority).public_key(key.public_key())
        )
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(
            now - dt.timedelta(days=1)
        )
        builder = builder.not_valid_after(now + dt.timedelta(days=1))
        return builder.add_extension(extension, critical=True).sign(authority_key, hashes.SHA256())

    root = certificate(authority, authority_key, x509.BasicConstraints(ca=True, path_length=None))
    (folder / "ca.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    server = certificate(
        x509.Name([]),
        server_key,
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
    )
    key = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM) + key)
    return folder


@contextmanager
def with_tls(url: str, certificate: Path) -> Iterator[int]:
    """A port at which the same database has TLS."""
    loop, ready, port = asyncio.new_event_loop(), threading.Event(), free_port()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    target = urlsplit(url)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(8)  # SSLRequest
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(context)
            far = await asyncio.open_connection(target.hostname, target.port)
            await both_ways((reader, writer), far)
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()

    async def serve() -> None:
        server = await asyncio.start_server(accept, "127.0.0.1", port)
        ready.set()
        await stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def addresses(url: str) -> dict[str, tuple[str, str]]:
    """Each address that does not work, and its cause."""
    return {
        "a wrong password": (
            changed(url, netloc=netloc(url, password=SECRET)),
            "the user or the password is wrong",
        ),
        "a host that does not exist": (
            changed(url, netloc=netloc(url, host="nowhere.invalid")),
            "the host's name cannot be resolved",
        ),
        "a wrong port": (
            changed(url, netloc=netloc(url, port=free_port())),
            "nothing listens at this host and port",
        ),
        "a wrong name": (changed(url, path="/nothing"), "there is no such database"),
        "no TLS": (changed(url, query="sslmode=require"), "the server has no TLS, which sslmode asks for"),
        "no root certificate": (
            changed(url, query="sslmode=verify-full"),
            "sslmode verify-ca and verify-full need a root certificate: name it in sslrootcert",
        ),
        "no primary": (
            changed(url, query="target_session_attrs=standby"),
            "no host is what target_session_attrs asks for",
        ),
    }


CASES = (
    "a wrong password",
    "a host that does not exist",
    "a wrong port",
    "a wrong name",
    "no TLS",
    "no root certificate",
    "no primary",
)


@pytest.mark.parametrize("case", CASES)
def test_check_config_and_migrate_name_the_cause(url: str, tmp_path: Path, case: str) -> None:
    address, cause = addresses(url)[case]
    checked = tradepost(tmp_path, "check-config", "--connect", DATABASE_URL=address)
    assert (checked.returncode, f"DATABASE_URL: cannot connect: {cause}" in checked.stdout) == (69, True)
    migrated = tradepost(tmp_path, "migrate", DATABASE_URL=address)
    assert migrated.returncode == 1
    assert migrated.stderr == f"tradepost migrate: DATABASE_URL: {cause}\n"
    [line] = [json.loads(line) for line in migrated.stdout.splitlines()]
    assert (line["level"], line["event"], line["cause"]) == (
        "critical",
        "migration.failed",
        f"DATABASE_URL: {cause}",
    )
    assert "Traceback" not in migrated.stderr + migrated.stdout
    for said in (checked.stdout, checked.stderr, migrated.stdout, migrated.stderr):
        assert SECRET not in said
        assert str(urlsplit(url).password) not in said


def test_an_address_that_works_is_said_to(url: str, tmp_path: Path) -> None:
    checked = tradepost(tmp_path, "check-config", "--connect", DATABASE_URL=url)
    assert checked.returncode == 0
    assert checked.stdout.endswith("DATABASE_URL: connected\nDATABASE_DIRECT_URL: connected\n")


def test_the_service_logs_the_cause_and_hides_it_from_clients(url: str, tmp_path: Path) -> None:
    address, cause = addresses(url)["a wrong password"]
    # Elsewhere it migrates first, and ends with the cause.
    key = generate_key()
    with started(
        tmp_path, DATABASE_URL=address, ENVIRONMENT="production", SECRET_KEY=key, WEB_CONCURRENCY=1
    ) as service:
        service.wait_until_up("/livez")
        with service.client() as client:
            answer = client.get("/items")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "password" not in answer.text
        assert {line.get("cause") for line in service.wait_for("database.fault_met")} == {cause}
        assert [line["cause"] for line in service.wait_for("service.held_up")] == [f"DATABASE_URL: {cause}"]
        assert service.events("changes.connection_lost") == []
        assert SECRET not in service.stdout + service.stderr


class TestTls:
    @pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "require"])
    def test_a_server_that_the_root_certificate_vouches_for(
        self, url: str, tmp_path: Path, certificates: Path, mode: str
    ) -> None:
        with with_tls(url, certificates / "server.pem") as port:
            query = f"sslmode={mode}&sslrootcert={certificates / 'ca.pem'}"
            address = changed(url, netloc=netloc(url, port=port), query=query)
            checked = tradepost(tmp_path, "check-config", "--connect", DATABASE_URL=address)
            assert (checked.returncode, checked.stdout.count(": connected")) == (0, 2)
            assert tradepost(tmp_path, "migrate", DATABASE_URL=address).returncode == 0

    def test_one_of_another_name_is_refused_by_verify_full_alone(
        self, url: str, tmp_path: Path, certificates: Path
    ) -> None:
        with with_tls(url, certificates / "server.pem") as port:
            said = {}
            for mode in ("verify-full", "verify-ca"):
                query = f"sslmode={mode}&sslrootcert={certificates / 'ca.pem'}"
                address = changed(url, netloc=netloc(url, host="localhost", port=port), query=query)
                said[mode] = tradepost(tmp_path, "check-config", "--connect", DATABASE_URL=address)
        assert [said[mode].returncode for mode in ("verify-full", "verify-ca")] == [69, 0]
        assert "the server's certificate is not trusted, or is for another host" in said["verify-full"].stdout


def test_several_hosts_are_tried_in_turn(url: str, tmp_path: Path) -> None:
    parts = urlsplit(url)
    hosts = f"{parts.username}:{parts.password}@127.0.0.1:{free_port()},127.0.0.1:{parts.port}"
    address = changed(url, netloc=hosts, query="target_session_attrs=primary")
    assert tradepost(tmp_path, "check-config", "--connect", DATABASE_URL=address).returncode == 0


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """As hosted databases have it: the extension is there already, in a schema that nobody looks into."""
    with cloned_database(template=None) as url:
        statement(url, "CREATE SCHEMA extensions", "CREATE EXTENSION pg_trgm SCHEMA extensions")
        yield url


def test_trigrams_in_another_schema_serve_migrations_and_the_search(elsewhere: str, tmp_path: Path) -> None:
    migrated = tradepost(tmp_path, "migrate", DATABASE_URL=elsewhere)
    assert migrated.returncode == 0, migrated.stderr
    statement(elsewhere, "INSERT INTO items (sku, name, price) VALUES ('1', 'Chocolade', 12.75)")
    with started(tmp_path, DATABASE_URL=elsewhere, WEB_CONCURRENCY=1) as service:
        service.wait_until_up()
        found = get(f"{service.url}/api/v1/items?search=choklade").json()
        assert [item["name"] for item in found] == ["Chocolade"]
    assert asyncio.run(_opclass(elsewhere)) == "extensions"


async def _opclass(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        schema: str = await connection.fetchval(
            "SELECT nspname FROM pg_index JOIN pg_opclass ON pg_opclass.oid = indclass[0]"
            " JOIN pg_namespace ON pg_namespace.oid = opcnamespace"
            " WHERE indexrelid = 'ix_items_name_trgm'::regclass"
        )
    finally:
        await connection.close()
    return schema
