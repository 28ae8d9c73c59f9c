"""Races made certain: go on when the other one really waits."""

import asyncio
import time
from collections.abc import Callable

import asyncpg
import pytest

#: Nothing is asserted about how soon; on a busy machine it may take its time.
PATIENCE_SECONDS = 60.0
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def somebody_waits(sql: asyncpg.Connection, so_many: int = 1) -> None:
    """Returns once so many other sessions of this database wait for a lock."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        # Within a transaction, the connections that there are would be looked up only once.
        await sql.execute("SELECT pg_stat_clear_snapshot()")
        if await sql.fetchval(WAITING) >= so_many:
            return
        await asyncio.sleep(0.005)
    pytest.fail("nobody waits for a lock")


async def eventually(condition: Callable[[], bool]) -> None:
    """Returns once it is so, as what the change feed tells makes it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it never came")
