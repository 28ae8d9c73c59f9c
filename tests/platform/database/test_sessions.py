"""Sessions: what is undone, what is committed, and what happens to a connection that is cut off."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text

from service.errors import Contention, Unavailable
from service.platform.config import Settings
from service.platform.database import Database, pool
from tests.helpers.waiting import eventually

ADD = "INSERT INTO items (sku, name, price) VALUES ('{}', 'x', 1)"
RUNNING = """SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND state = 'active' AND query LIKE 'SELECT pg_sleep%'"""


@pytest.fixture
async def database(settings: Settings, sql: asyncpg.Connection) -> AsyncIterator[Database]:
    assert settings.database_url is not None
    # What goes on at the server is not ended by the time-out of statements meanwhile.
    patient = settings.model_copy(update={"database_statement_timeout": 120})
    one = Database(settings.database_url.get_secret_value(), patient)
    yield one
    await eventually(lambda: one.pool_usage[0] == 0)
    await one.close()


class TestSessions:
    async def test_a_savepoint_is_undone_alone(self, database: Database, sql: asyncpg.Connection) -> None:
        async with database.transaction() as session:
            await session.execute(ADD.format("A"))
            for name in ("B", "A"):
                try:
                    async with session.savepoint():
                        await session.execute(ADD.format(name + "2"))
                        await session.execute(ADD.format(name))
                except asyncpg.UniqueViolationError:
                    assert name == "A"
        assert await sql.fetchval("SELECT array_agg(sku ORDER BY id) FROM items") == ["A", "B2", "B"]

    async def test_a_transaction_that_failed_is_not_said_to_be_committed(self, database: Database) -> None:
        """PostgreSQL answers COMMIT of such a transaction with ROLLBACK, and no error."""

        async def work() -> None:
            async with database.transaction() as session:
                with pytest.raises(asyncpg.UndefinedTableError):
                    await session.execute("SELECT * FROM nowhere")

        with pytest.raises(RuntimeError, match="had failed"):
            await work()

    async def test_a_statement_that_a_migration_has_changed_is_prepared_again(
        self, database: Database, sql: asyncpg.Connection
    ) -> None:
        """Without a transaction at once; inside one the request is run again, as after a deadlock."""
        await sql.execute("CREATE TABLE changing (a int)")
        read = text("SELECT * FROM changing WHERE a IS NOT DISTINCT FROM :a")
        try:
            async with database.reading() as session:
                assert await session.rows(read, {"a": 1}) == []
            await sql.execute("ALTER TABLE changing ALTER a TYPE bigint, ADD b text")
            async with database.reading() as session:
                assert await session.rows(read, {"a": 1}) == []
            await sql.execute("ALTER TABLE changing ADD c text")
            with pytest.raises(Contention):
                async with database.transaction() as session:
                    await session.rows(read, {"a": 1})
            async with database.transaction() as session:
                assert await session.rows(read, {"a": 1}) == []
        finally:
            await sql.execute("DROP TABLE changing")

    async def test_what_runs_on_after_a_lost_connection_is_refused(
        self, database: Database, sql: asyncpg.Connection
    ) -> None:
        """The first part has been rolled back. COMMIT was not sent, so the outcome is known."""

        async def work() -> None:
            async with database.transaction() as session:
                await session.execute(ADD.format("A"))
                pid = await session.value("SELECT pg_backend_pid()")
                await sql.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
                for _ in range(2):
                    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
                        await session.execute(ADD.format("B"))

        with pytest.raises(Unavailable) as refusal:
            await work()
        assert type(refusal.value) is Unavailable
        assert await sql.fetchval("SELECT count(*) FROM items") == 0


class TestCutOff:
    async def test_a_cancelled_statement_ends_at_the_server(
        self, database: Database, sql: asyncpg.Connection
    ) -> None:
        """It would keep its locks, and a place that the pool does not count."""

        async def work() -> None:
            async with database.transaction() as session:
                await session.execute("LOCK TABLE items IN EXCLUSIVE MODE")
                await session.execute("SELECT pg_sleep(60)")

        task = asyncio.create_task(work())
        await eventually(lambda: sql.fetchval(RUNNING))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(30):
            await sql.execute(ADD.format("A"))
        assert await sql.fetchval(RUNNING) == 0

    async def test_it_keeps_its_place_until_it_has_ended(
        self, settings: Settings, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However many tasks are cancelled, the server has no more connections than the pool may have."""
        # On a busy machine the server may take longer to end a statement than the pool waits for that.
        monkeypatch.setattr(pool, "CLOSE_SECONDS", 60.0)
        assert settings.database_url is not None
        few = settings.model_copy(
            update={"database_pool_size": 1, "database_max_overflow": 1, "database_pool_timeout": 60}
        )
        database = Database(settings.database_url.get_secret_value(), few)
        opened = """SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%'"""

        async def work() -> None:
            async with database.reading() as session:
                await session.value("SELECT pg_sleep(60)")

        async def both_run() -> bool:
            return bool(await sql.fetchval(RUNNING) == 2)

        for _ in range(5):
            tasks = [asyncio.create_task(work()) for _ in range(2)]
            await eventually(both_run)
            assert await sql.fetchval(opened) == 2
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        await database.close()
        assert await sql.fetchval(opened) == 0

    async def test_a_time_out_inside_a_session_leaves_no_transaction_to_the_next(
        self, database: Database, sql: asyncpg.Connection
    ) -> None:
        """BEGIN may be under way: the next session would write into a transaction that is rolled back."""
        for number in range(60):
            try:
                async with database.transaction() as session:
                    async with asyncio.timeout(number * 0.00002):
                        await session.value("SELECT 1")
            except (Unavailable, TimeoutError):
                pass
            async with database.reading() as session:
                await session.execute(ADD.format(number))
            assert await sql.fetchval("SELECT count(*) FROM items") == number + 1

    async def test_without_begin_nothing_is_written(
        self, database: Database, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        execute = asyncpg.Connection.execute

        async def refused(connection: asyncpg.Connection, query: str, *values: object) -> str:
            if query == "BEGIN":
                raise asyncpg.QueryCanceledError("canceling statement due to user request")
            return await execute(connection, query, *values)

        async def work() -> None:
            async with database.transaction() as session:
                for _ in range(2):
                    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
                        await session.execute(ADD.format("A"))

        monkeypatch.setattr(asyncpg.Connection, "execute", refused)
        with pytest.raises(Unavailable):
            await work()
        assert await sql.fetchval("SELECT count(*) FROM items") == 0
