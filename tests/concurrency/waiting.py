"""Races made certain: go on when the other one really waits."""

import asyncio

import asyncpg
import pytest

WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def somebody_waits(sql: asyncpg.Connection) -> None:
    """Returns once another session of this database waits for a lock."""
    for _ in range(1_000):
        if await sql.fetchval(WAITING):
            return
        await asyncio.sleep(0.005)
    pytest.fail("nobody waits for a lock")
