"""Readiness of a process, as its probe reports it."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Generic, Literal, TypeVar

from service.errors import ReadOnly, ServiceError
from service.platform.config import Settings
from service.platform.database import Database, schema
from service.platform.server.health.schemas import DatabaseState, NotYetReady, Readiness
from service.platform.server.health.startup import Startup

PING_SECONDS: Final = 1.0
#: Probes need no credentials and have no rate limit: a result of the database is reused for so long.
CACHED_SECONDS: Final = 1.0

Found = TypeVar("Found")


class CachedCheck(Generic[Found]):
    """A query that runs once for all concurrent callers, and whose result is reused for CACHED_SECONDS.

    An error is cached as a result is.
    """

    def __init__(self, query: Callable[[], Coroutine[Any, Any, Found]]) -> None:
        self._query = query
        self._running: asyncio.Task[Found] | None = None
        self._finished = 0.0

    async def result(self) -> Found:
        task = self._running
        if task is None or (task.done() and time.monotonic() - self._finished > CACHED_SECONDS):
            task = self._running = asyncio.create_task(self._run(), name="probe")
            # If the client has left, asyncio would otherwise log that the exception was never retrieved.
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
        # A caller that is cancelled does not cancel the query for the others.
        return await asyncio.shield(task)

    async def _run(self) -> Found:
        try:
            return await self._query()
        finally:
            self._finished = time.monotonic()

    async def aclose(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)


class Probes:
    """Readiness of a process."""

    def __init__(self, database: Database, settings: Settings, startup: Startup) -> None:
        self._settings, self._startup = settings, startup
        self._state = CachedCheck(partial(_state, database))

    async def readiness(self, *, ending: bool = False) -> Readiness:
        """Not ready until the service has once had its schema and its listener. Afterwards soft by default: a
        database that is down takes no pod out, or it would take all at once.

        `ending`: the process drains, drain file or not.
        """
        flag = self._settings.drain_file
        draining = ending or (flag is not None and os.path.exists(flag))  # noqa: ASYNC240, PTH110 - a stat of tmpfs does not block
        found = await self._state.result()
        if not self._startup.completed:
            return self._not_yet_ready(found, draining=draining)
        ready = not draining and (found == "up" or self._settings.readiness_database == "soft")
        state: Literal["ready", "not_ready"] = "ready" if ready else "not_ready"
        return Readiness(status=state, database=found, draining=draining)

    def _not_yet_ready(self, found: DatabaseState, *, draining: bool) -> NotYetReady:
        needed, _ = schema.required_revision()
        return NotYetReady(
            status="not_ready",
            database=found,
            draining=draining,
            schema_revision=self._startup.revision,
            required_revision=needed,
            listening=self._startup.listens,
            cause=self._startup.cause,
        )

    async def aclose(self) -> None:
        await self._state.aclose()


async def _state(database: Database) -> DatabaseState:
    try:
        async with asyncio.timeout(PING_SECONDS):
            await database.ping()
    except ReadOnly:
        return "read_only"
    except (ServiceError, TimeoutError):
        return "down"
    return "up"
