"""The upkeep of the client addresses in the audit log, with the clock given."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from structlog.testing import capture_logs

from service import audit
from service.audit import repository as statements
from service.platform.config import Settings
from service.platform.database import Database
from tests.conftest import for_sqlalchemy
from tests.server.process import cloned_database

NOW = datetime(2031, 12, 15, 12, tzinfo=UTC)
RETENTION = timedelta(days=90)


@pytest.fixture
def url() -> Iterator[str]:
    """A database in which no application does the same beside the test."""
    with cloned_database() as url:
        yield url


@pytest.fixture
async def database(url: str, settings: Settings) -> AsyncIterator[Database]:
    database = Database(for_sqlalchemy(url), settings)
    yield database
    await database.close()


@pytest.fixture
async def look(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def partitions(look: asyncpg.Connection) -> list[str]:
    rows = await look.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = 'audit_addresses'::regclass ORDER BY 1"
    )
    return [row["name"].removeprefix("audit_addresses_") for row in rows]


async def noted(look: asyncpg.Connection, *moments: datetime) -> None:
    for number, moment in enumerate(moments):
        address = f"203.0.113.{number}"
        await look.execute(
            "INSERT INTO audit_addresses (audit_id, at, address) VALUES ($1, $2, $3)", number, moment, address
        )


async def kept(look: asyncpg.Connection) -> dict[int, str]:
    """In which partition each address stands."""
    rows = await look.fetch("SELECT audit_id, tableoid::regclass::text AS name FROM audit_addresses")
    return {row["audit_id"]: row["name"].removeprefix("audit_addresses_") for row in rows}


class TestMonths:
    async def test_this_and_the_next_are_there(self, database: Database, look: asyncpg.Connection) -> None:
        for _ in range(2):
            await audit.keep_addresses(database, RETENTION, now=NOW)
            assert await partitions(look) == ["203112", "203201", "default"]

    async def test_each_holds_its_month_in_utc(self, database: Database, look: asyncpg.Connection) -> None:
        name = await look.fetchval("SELECT current_database()")
        await look.execute(f"ALTER DATABASE {name} SET timezone = 'Pacific/Kiritimati'")
        await audit.keep_addresses(database, RETENTION, now=NOW)
        a_moment = timedelta(microseconds=1)
        first, second, third = (
            datetime(*month, 1, tzinfo=UTC) for month in ((2031, 12), (2032, 1), (2032, 2))
        )
        await noted(look, first - a_moment, first, second - a_moment, second, third - a_moment, third)
        assert await kept(look) == {
            0: "default", 1: "203112", 2: "203112", 3: "203201", 4: "203201", 5: "default",
        }  # fmt: skip

    async def test_what_has_come_before_its_month_was_made_is_moved(
        self, database: Database, look: asyncpg.Connection
    ) -> None:
        await noted(look, NOW, NOW + timedelta(days=30), NOW + timedelta(days=60), NOW - timedelta(days=40))
        before = await look.fetch("SELECT * FROM audit_addresses ORDER BY audit_id")
        await audit.keep_addresses(database, RETENTION, now=NOW)
        assert await kept(look) == {0: "203112", 1: "203201", 2: "default", 3: "default"}
        assert await look.fetch("SELECT * FROM audit_addresses ORDER BY audit_id") == before

    async def test_one_that_is_there_is_left_alone(
        self, database: Database, look: asyncpg.Connection
    ) -> None:
        await audit.keep_addresses(database, RETENTION, now=NOW)
        await audit.keep_addresses(database, RETENTION, now=NOW + timedelta(days=31))
        assert await partitions(look) == ["203112", "203201", "203202", "default"]

    async def test_the_columns_and_the_key_are_those_of_the_table(
        self, database: Database, look: asyncpg.Connection
    ) -> None:
        await audit.keep_addresses(database, RETENTION, now=NOW)
        await noted(look, NOW)
        with pytest.raises(asyncpg.UniqueViolationError):
            await noted(look, NOW)


class TestOldAddresses:
    async def test_a_month_is_dropped_when_all_of_it_is_too_old(
        self, database: Database, look: asyncpg.Connection
    ) -> None:
        await audit.keep_addresses(database, RETENTION, now=NOW)
        await noted(look, NOW, NOW + timedelta(days=20))
        end = datetime(2032, 1, 1, tzinfo=UTC)
        last = end + RETENTION - timedelta(microseconds=1)
        await audit.keep_addresses(database, RETENTION, now=last)
        assert await kept(look) == {0: "203112", 1: "203201"}
        assert "203112" in await partitions(look)
        with capture_logs() as lines:
            await audit.keep_addresses(database, RETENTION, now=end + RETENTION)
        assert await kept(look) == {1: "203201"}
        assert await partitions(look) == ["203201", "203203", "203204", "default"]
        assert {"event": "audit.month_dropped", "month": "2031-12", "log_level": "info"} in lines

    async def test_those_without_a_month_go_one_by_one(
        self, database: Database, look: asyncpg.Connection
    ) -> None:
        oldest = NOW - RETENTION
        await noted(look, oldest, oldest - timedelta(microseconds=1))
        await audit.keep_addresses(database, RETENTION, now=NOW)
        assert await kept(look) == {0: "default"}

    async def test_the_log_itself_stays(self, database: Database, look: asyncpg.Connection) -> None:
        await look.execute("INSERT INTO audit_log (action, at) VALUES ('user.registered', '2001-01-01Z')")
        await audit.keep_addresses(database, RETENTION, now=NOW)
        assert await look.fetchval("SELECT count(*) FROM audit_log") == 1


class TestAtOnce:
    async def test_another_process_that_is_at_it_is_left_to_it(
        self, database: Database, look: asyncpg.Connection
    ) -> None:
        async with look.transaction():
            await look.execute(f"SELECT pg_advisory_xact_lock({statements.PARTITIONS_LOCK})")
            await audit.keep_addresses(database, RETENTION, now=NOW)
        assert await partitions(look) == ["default"]

    async def test_many_processes_make_each_month_once(
        self, database: Database, look: asyncpg.Connection
    ) -> None:
        await asyncio.gather(*(audit.keep_addresses(database, RETENTION, now=NOW) for _ in range(6)))
        assert set(await partitions(look)) <= {"203112", "203201", "default"}
        await audit.keep_addresses(database, RETENTION, now=NOW)
        assert await partitions(look) == ["203112", "203201", "default"]

    async def test_what_is_being_noted_meanwhile_is_neither_lost_nor_in_the_way(
        self, database: Database, look: asyncpg.Connection
    ) -> None:
        """A transaction that has noted an address and not ended: it is waited for, and its row moved too."""
        async with look.transaction():
            await noted(look, NOW)
            upkeep = asyncio.create_task(audit.keep_addresses(database, RETENTION, now=NOW))
            await asyncio.sleep(0.1)
            assert not upkeep.done()
        await upkeep
        assert await kept(look) == {0: "203112"}
