"""The change feed: every process hears, at COMMIT, of what others have changed.

Triggers NOTIFY one channel; each process LISTENs on a connection of its own and hands what it hears to
its readers. A lease says how long what they hold may be believed: it is renewed by a query over that
same connection, and since PostgreSQL delivers notifications in the order of commits and before the
answer to a later query, everything committed before the query was asked has been heard when it is
answered. When the connection is closed or silent the lease lapses, and the database has to be asked.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from service.errors import ServiceError

log = structlog.get_logger(__name__)

CHANNEL: Final = "tradepost_changes"
#: How often the lease is renewed, and how long it lasts from when its query was asked: an answer given
#: under it is never staler than that, and a renewal may be two thirds late.
RENEW_SECONDS: Final = 0.3
LEASE_SECONDS: Final = 0.9
CONNECT_SECONDS: Final = 3.0
LONGEST_PAUSE_SECONDS: Final = 2.0

Change = dict[str, Any]


@dataclass(frozen=True)
class Reader:
    """Who wants to know. `load` reads what holds now, after listening has begun, so that nothing falls
    between; `changed` is given each change, with `of` naming what it is a change of.
    """

    load: Callable[[], Awaitable[None]]
    changed: Callable[[Change], None]


class ChangeFeed:
    def __init__(self, url: str, readers: tuple[Reader, ...]) -> None:
        self._engine = create_async_engine(
            url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "timeout": CONNECT_SECONDS,
                "command_timeout": LEASE_SECONDS,
                "server_settings": {"application_name": "tradepost changes"},
            },
        )
        self._readers = readers
        self._lease_ends = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def current(self) -> bool:
        """Whether what the readers hold is less than LEASE_SECONDS behind the database."""
        return time.monotonic() < self._lease_ends

    async def start(self) -> None:
        """Begin to listen, in the background: a database that is down keeps nobody from starting."""
        self._task = asyncio.create_task(self._run(), name="change feed")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._engine.dispose()

    async def _run(self) -> None:
        pause = 0.05
        while True:
            began = time.monotonic()
            try:
                await self._listen()
            except (
                SQLAlchemyError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                OSError,
                ServiceError,
            ) as fault:
                log.warning("changes.connection_lost", fault=type(fault).__name__)
            finally:
                self._lease_ends = 0.0
            pause = 0.05 if time.monotonic() - began > LONGEST_PAUSE_SECONDS else pause * 2
            pause = min(pause, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads reconnections

    async def _listen(self) -> None:
        connection = await self._engine.connect()
        raw = await _driver(connection)
        try:
            await raw.add_listener(CHANNEL, self._heard)
            for reader in self._readers:
                await reader.load()
            log.info("changes.listening")
            while True:
                asked = time.monotonic()
                await raw.execute("SELECT 1")
                self._lease_ends = asked + LEASE_SECONDS
                await asyncio.sleep(RENEW_SECONDS)
        finally:
            # A connection that has gone silent would never answer a polite goodbye.
            raw.terminate()
            with contextlib.suppress(SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await connection.invalidate()
                await connection.close()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        change = json.loads(str(payload))
        for reader in self._readers:
            reader.changed(change)


async def _driver(connection: AsyncConnection) -> asyncpg.Connection:
    driver: asyncpg.Connection | None = (await connection.get_raw_connection()).driver_connection
    assert driver is not None  # noqa: S101 - it has just been connected
    return driver
