"""Metrics of a process and of its database, measured all the time, without requests too."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from service import __version__
from service.errors import ServiceError
from service.platform.database import Database, metrics
from service.platform.telemetry.runtime import RuntimeMonitor

#: How often the database is pinged, and how long it may take to answer.
PING_SECONDS: Final = 5.0
PING_TIMEOUT_SECONDS: Final = 2.0


class ProcessMonitor:
    """`in_sync` says whether the change feed is in sync, where the process has one."""

    def __init__(self, database: Database, in_sync: Callable[[], bool] | None = None) -> None:
        self._database, self._in_sync = database, in_sync
        self._runtime = RuntimeMonitor(self._sample)
        self._pinging: asyncio.Task[None] | None = None

    async def start(self) -> None:
        metrics.begin()
        self._runtime.start(__version__)
        self._pinging = asyncio.create_task(self._ping_database(), name="database_ping")

    async def stop(self) -> None:
        if self._pinging is not None:
            self._pinging.cancel()
            await asyncio.gather(self._pinging, return_exceptions=True)
        await self._runtime.stop()

    def _sample(self) -> None:
        metrics.pool_seen(*self._database.pool_usage)
        if self._in_sync is not None:
            metrics.feed_seen(listening=self._in_sync())

    async def _ping_database(self) -> None:
        while True:
            in_use, size = self._database.pool_usage
            # Without a free connection the ping fails, though the database may be up.
            if in_use < size:
                metrics.database_seen(up=await self._is_up())
            await asyncio.sleep(PING_SECONDS)

    async def _is_up(self) -> bool:
        with contextlib.suppress(ServiceError, TimeoutError):
            async with asyncio.timeout(PING_TIMEOUT_SECONDS):
                await self._database.ping()
                return True
        return False
