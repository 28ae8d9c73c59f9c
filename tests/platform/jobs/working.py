"""A worker in the test's own process, with kinds of jobs of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg

from service.platform.config import Settings
from service.platform.database import Database
from service.platform.jobs import enqueue as jobs
from service.platform.jobs.worker import Worker
from service.worker_container import Attempt, Handler, Kind, WorkerParts

WITHIN_SECONDS = 60.0
LOST_AFTER = timedelta(seconds=1)


def kind(handler: Handler, **options: Any) -> Kind:
    return Kind(handler, **{"longest_pause": 0.01, **options})


class Noting:
    """A handler that remembers what it was given, and then does what it is told to."""

    def __init__(self, then: Callable[[Mapping[str, Any], Attempt], Any] | None = None) -> None:
        self.given: list[tuple[Mapping[str, Any], int]] = []
        self._then = then

    async def __call__(self, _: WorkerParts, payload: Mapping[str, Any], attempt: Attempt) -> None:
        self.given.append((payload, attempt.number))
        if self._then is not None:
            answer = self._then(payload, attempt)
            if asyncio.iscoroutine(answer):
                await answer

    @property
    def names(self) -> list[Any]:
        return [payload["name"] for payload, _ in self.given]


@asynccontextmanager
async def working(settings: Settings, kinds: Mapping[str, Kind], **options: Any) -> AsyncIterator[Worker]:
    parts = WorkerParts.of(settings)
    options = {"periods": {}, "lost_after": LOST_AFTER, "look_seconds": 0.05, **options}
    worker = Worker(parts, kinds=kinds, **options)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
        worker.stop()
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await parts.stop()


async def put(database: Database, kind: str, *names: str, **options: Any) -> None:
    async with database.transaction() as session:
        for name in names:
            await jobs.enqueue(session, kind, {"name": name}, **options)


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait for something that happens elsewhere; nothing is asserted about how soon."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.01)


async def emptied(sql: asyncpg.Connection) -> None:
    async def empty() -> bool:
        return not await sql.fetchval("SELECT count(*) FROM pgqueuer WHERE status <> 'failed'")

    await eventually(empty)
