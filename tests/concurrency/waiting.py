"""Races made certain: go on when the other one really waits."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def somebody_waits(sql: asyncpg.Connection, so_many: int = 1) -> None:
    """Returns once so many other sessions of this database wait for a lock."""
    for _ in range(1_000):
        if await sql.fetchval(WAITING) >= so_many:
            return
        await asyncio.sleep(0.005)
    pytest.fail("nobody waits for a lock")


async def eventually(condition: Callable[[], bool]) -> None:
    """Returns once it is so, as what the change feed tells makes it."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it never came")
