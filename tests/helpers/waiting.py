"""Wait for what happens elsewhere. Nothing is asserted about how soon, only that it happens."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import asyncpg

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.01
BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def eventually(condition: Callable[[], Any]) -> None:
    """Return once the condition, which may be a coroutine function, is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            return
        assert time.monotonic() < deadline, f"it did not happen within {PATIENCE_SECONDS} s"
        await asyncio.sleep(PAUSE_SECONDS)


def wait_until(condition: Callable[[], bool], within: float = PATIENCE_SECONDS) -> None:
    """The same for tests without an event loop."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {within} s"
        time.sleep(PAUSE_SECONDS)


async def until_blocked(sql: asyncpg.Connection, sessions: int = 1) -> None:
    """Return once so many other sessions of this database wait for a lock."""

    async def blocked() -> bool:
        # Within a transaction, the connections that there are would be looked up only once.
        await sql.execute("SELECT pg_stat_clear_snapshot()")
        return bool(await sql.fetchval(BLOCKED) >= sessions)

    await eventually(blocked)
