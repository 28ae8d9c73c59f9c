"""How exports end: when they are whole, and when they are not, so that a client can go on."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import asyncpg
import pytest
from prometheus_client import REGISTRY

from service.container.api import Container
from service.exports import service as exports
from tests.helpers.client import V1, assert_problem
from tests.helpers.exporting import Reading, exporting
from tests.helpers.factories import Make, Person
from tests.helpers.waiting import eventually

#: More than there is room for on the way to a client.
LARGE = 2_000
FILLED = """
    INSERT INTO users (email, full_name, password_hash)
    SELECT $2 || n || '@shop.example', repeat('x', 10000), 'none' FROM generate_series(1, $1) AS n
"""
ALL = "SELECT id FROM users ORDER BY id"


@pytest.fixture
async def ada(make: Make) -> Person:
    return await make.admin()


@pytest.fixture
async def ids(sql: asyncpg.Connection, ada: Person) -> list[int]:
    """All users, ada among them."""
    async with sql.transaction():
        await sql.execute("SET LOCAL session_replication_role = replica")
        await sql.execute(FILLED, LARGE, "x")
    return [row["id"] for row in await sql.fetch(ALL)]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "BATCH", 20)
    monkeypatch.setattr(exports, "CONFIRM_SECONDS", 0.0)


def ended(reason: str) -> float:
    return REGISTRY.get_sample_value("exports_ended_total", {"of": "customers", "reason": reason}) or 0


def whole_rows(reading: Reading) -> list[int]:
    """What a client keeps of a response that was broken off."""
    return [json.loads(line)["id"] for line in reading.body.split(b"\n")[:-1]]


async def given_back(container: Container) -> None:
    await eventually(lambda: len(container.exports) == 0)
    await eventually(lambda: container.exports.database.pool_usage[0] == 0)


async def goes_on(url: str, token: str, reading: Reading, ids: list[int]) -> None:
    """After what has come, and then nothing is missing and nothing is there twice."""
    had = whole_rows(reading)
    assert had == ids[: len(had)]
    assert len(had) < len(ids)
    async with exporting(
        url, token, "customers.jsonl", after=had[-1] if had else 0, until=reading.until
    ) as more:
        assert await more.rest()
    assert had + whole_rows(more) == ids
    assert more.until == reading.until == ids[-1]
    assert more.answer.headers["Export-Snapshot-At"] > reading.answer.headers["Export-Snapshot-At"]


async def test_one_that_is_whole_ends_as_http_says(
    url: str, ada: Person, ids: list[int], container: Container
) -> None:
    before = ended("whole"), REGISTRY.get_sample_value("exported_rows_total", {"of": "customers"}) or 0
    async with exporting(url, ada.token, "customers.jsonl") as reading:
        assert await reading.rest()
    assert whole_rows(reading) == ids
    await given_back(container)
    assert ended("whole") == before[0] + 1
    assert REGISTRY.get_sample_value("exported_rows_total", {"of": "customers"}) == before[1] + len(ids)


async def test_all_rows_are_of_one_snapshot(
    url: str, ada: Person, ids: list[int], sql: asyncpg.Connection
) -> None:
    async with exporting(url, ada.token, "customers.jsonl") as reading:
        await reading.piece()
        await sql.execute("UPDATE users SET full_name = 'Changed'")
        await sql.execute(FILLED, 5, "y")
        assert await reading.rest()
    assert whole_rows(reading) == ids
    assert b"Changed" not in reading.body


async def test_when_access_ends_it_is_broken_off(
    url: str, ada: Person, ids: list[int], make: Make, container: Container
) -> None:
    before = ended("access_ended")
    async with exporting(url, ada.token, "customers.jsonl") as reading:
        await reading.piece()
        assert (await ada.api.delete("/auth/sessions")).status_code == 204
        assert not await reading.rest()
    await given_back(container)
    assert ended("access_ended") == before + 1
    await goes_on(url, (await make.signed_in_again(ada)).token, reading, ids)


async def test_when_a_key_is_revoked_it_is_broken_off(
    url: str, ada: Person, ids: list[int], make: Make, container: Container
) -> None:
    key = await make.key("users:read", maker=ada)
    async with exporting(url, key.key, "customers.jsonl") as reading:
        await reading.piece()
        assert (await ada.api.delete(f"/api-keys/{key.id}")).status_code == 204
        assert not await reading.rest()
    await given_back(container)
    await goes_on(url, (await make.key("users:read", maker=ada)).key, reading, ids)


async def test_when_the_process_stops_it_is_broken_off(
    url: str, ada: Person, ids: list[int], container: Container
) -> None:
    before = ended("stopping")
    async with exporting(url, ada.token, "customers.jsonl") as reading:
        await reading.piece()
        container.exports.end_all()
        try:
            assert_problem(await ada.api.get("/exports/customers.csv"), 503, "unavailable")
        finally:
            container.exports.start()
        assert not await reading.rest()
    await given_back(container)
    assert ended("stopping") == before + 1
    await goes_on(url, ada.token, reading, ids)


async def test_when_it_takes_too_long_it_is_broken_off(
    url: str, ada: Person, ids: list[int], container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ended("too_long")
    with monkeypatch.context() as hurried:
        hurried.setattr(container.exports, "longest_seconds", 0.0)
        async with exporting(url, ada.token, "customers.jsonl") as reading:
            assert not await reading.rest()
    await given_back(container)
    assert ended("too_long") == before + 1
    await goes_on(url, ada.token, reading, ids)


async def test_when_the_database_ends_its_session_it_is_broken_off(
    url: str, ada: Person, ids: list[int], sql: asyncpg.Connection, container: Container
) -> None:
    before = ended("failed")
    async with exporting(url, ada.token, "customers.jsonl") as reading:
        await reading.piece()
        killed = await sql.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() AND datname = current_database()"
        )
        assert len(killed) == 1
        assert not await reading.rest()
    await given_back(container)
    assert ended("failed") == before + 1
    await goes_on(url, ada.token, reading, ids)


async def test_who_leaves_leaves_the_connection(
    url: str, ada: Person, ids: list[int], container: Container
) -> None:
    before = ended("left")
    async with exporting(url, ada.token, "customers.jsonl") as reading:
        await reading.piece()
        assert container.exports.database.pool_usage[0] == 1
    await given_back(container)
    assert ended("left") == before + 1


class TestBackpressure:
    @contextmanager
    def who_does_not_read(self, url: str, token: str) -> Iterator[socket.socket]:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
            request = f"GET {V1}/exports/customers.jsonl HTTP/1.1\r\nHost: shop.example\r\n"
            connection.sendall(f"{request}Authorization: Bearer {token}\r\n\r\n".encode())
            yield connection

    async def test_no_more_is_read_than_is_taken_and_it_is_given_up(
        self,
        url: str,
        ada: Person,
        ids: list[int],
        container: Container,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(container.exports, "stalled_seconds", 0.5)
        before, rows = (
            ended("stalled"),
            REGISTRY.get_sample_value("exported_rows_total", {"of": "customers"}) or 0,
        )
        with self.who_does_not_read(url, ada.token) as connection:
            await eventually(lambda: ended("stalled") == before + 1)
            await given_back(container)
            assert (REGISTRY.get_sample_value("exported_rows_total", {"of": "customers"}) or 0) - rows < LARGE
            received = b"".join(iter(partial(connection.recv, 1_000_000), b""))
            assert received.startswith(b"HTTP/1.1 200 ")
            assert not received.endswith(b"0\r\n\r\n")

    async def test_the_end_of_the_process_does_not_wait_for_it(
        self,
        url: str,
        ada: Person,
        ids: list[int],
        container: Container,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(container.exports, "stalled_seconds", 3600)
        with self.who_does_not_read(url, ada.token):
            await eventually(lambda: len(container.exports) == 1)
            await asyncio.sleep(0.3)
            container.exports.end_all()
            container.exports.start()
            await given_back(container)


class TestConnections:
    async def test_there_are_so_many_and_no_more(
        self, url: str, ada: Person, ids: list[int], container: Container, sql: asyncpg.Connection
    ) -> None:
        assert container.exports.most == container.settings.export_connections == 1
        async with exporting(url, ada.token, "customers.jsonl") as reading:
            await reading.piece()
            answer = await ada.api.get("/exports/customers.csv")
            assert_problem(answer, 503, "overloaded")
            assert answer.headers["retry-after"] == "10"
            assert await reading.rest()
        await eventually(lambda: len(container.exports) == 0)
        assert (await ada.api.head("/exports/customers.csv")).status_code == 200
        assert await sql.fetchval("SELECT count(*) FROM audit_log WHERE action = 'export.started'") == 2

    async def test_requests_have_theirs(
        self, url: str, ada: Person, ids: list[int], container: Container
    ) -> None:
        async with exporting(url, ada.token, "customers.jsonl") as reading:
            await reading.piece()
            assert container.exports.database is not container.database
            assert (await ada.api.get("/items?limit=1")).status_code == 200
