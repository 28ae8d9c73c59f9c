"""A connection that is killed in use: nothing was done, and no other connection is affected."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text

from service.errors import NotFound, OutcomeUnknown, Unavailable
from service.platform.config import Settings
from service.platform.database import Database, Session

KILL = "SELECT pg_terminate_backend($1, 5000)"
PID = text("SELECT pg_backend_pid()")


@pytest.fixture
async def database(settings: Settings, sql: asyncpg.Connection) -> AsyncIterator[Database]:
    assert settings.database_url is not None
    one = Database(settings.database_url.get_secret_value(), settings)
    yield one
    assert one.pool_usage[0] == 0
    async with one.transaction() as session:
        assert await session.value(text("SELECT 1")) == 1
    await one.close()


async def kill(session: Session, sql: asyncpg.Connection) -> None:
    assert await sql.fetchval(KILL, await session.value(PID))


async def test_a_refusal_stands(database: Database, sql: asyncpg.Connection) -> None:
    """It rolls back, which cannot be done any more and need not be."""

    async def refuse() -> None:
        async with database.transaction() as session:
            await kill(session, sql)
            raise NotFound("The order does not exist, or you may not see it. Check its id.")

    with pytest.raises(NotFound):
        await refuse()


async def test_the_next_statement_fails_as_unavailable(database: Database, sql: asyncpg.Connection) -> None:
    async def work() -> None:
        async with database.transaction() as session:
            await kill(session, sql)
            await session.execute(text("SELECT 1"))

    with pytest.raises(Unavailable) as refusal:
        await work()
    assert type(refusal.value) is Unavailable


async def test_the_running_statement_fails_as_unavailable(
    database: Database, sql: asyncpg.Connection
) -> None:
    async def work(known: "asyncio.Future[int]") -> None:
        async with database.transaction() as session:
            known.set_result(await session.value(PID))
            await session.execute(text("SELECT pg_sleep(60)"))

    known: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    working = asyncio.create_task(work(known))
    assert await sql.fetchval(KILL, await known)
    with pytest.raises(Unavailable) as refusal:
        await working
    assert type(refusal.value) is Unavailable


async def test_a_commit_fails_as_outcome_unknown(database: Database, sql: asyncpg.Connection) -> None:
    with pytest.raises(OutcomeUnknown):
        async with database.transaction() as session:
            await kill(session, sql)


async def test_a_plain_read_fails_as_unavailable(database: Database, sql: asyncpg.Connection) -> None:
    async def read() -> None:
        async with database.reading() as session:
            await kill(session, sql)
            await session.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        await read()
