"""A worker in the test's own process, with kinds of jobs of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg

from service.container.worker import WorkerContainer
from service.platform.config import Settings
from service.platform.database import Database
from service.platform.jobs import queue as jobs
from service.platform.jobs.kinds import Attempt, Handler, JobKind
from service.platform.jobs.worker import Worker
from tests.helpers.waiting import eventually

LEASE = timedelta(seconds=1)


def kind(handler: Handler, **options: Any) -> JobKind:
    return JobKind(handler, **{"longest_pause": 0.01, **options})


class Noting:
    """A handler that remembers what it was given, and then calls `then`."""

    def __init__(self, then: Callable[[Mapping[str, Any], Attempt], Any] | None = None) -> None:
        self.given: list[tuple[Mapping[str, Any], int]] = []
        self._then = then

    async def __call__(self, attempt: Attempt) -> None:
        self.given.append((attempt.payload, attempt.number))
        if self._then is not None:
            answer = self._then(attempt.payload, attempt)
            if asyncio.iscoroutine(answer):
                await answer

    @property
    def names(self) -> list[Any]:
        return [payload["name"] for payload, _ in self.given]


@asynccontextmanager
async def working(
    settings: Settings, kinds: Mapping[str, JobKind] | Collection[str], **options: Any
) -> AsyncIterator[Worker]:
    """With kinds of the test's own, or with some of those that ship."""
    container, url = WorkerContainer.build(settings), settings.database_url
    assert url is not None
    if not isinstance(kinds, Mapping):
        kinds = {name: replace(container.kinds[name], every=None) for name in kinds}
    options = {"lease": LEASE, "poll_seconds": 0.05, **options}
    graceful = settings.graceful_timeout
    worker = Worker(container.database, url.get_secret_value(), kinds, graceful_timeout=graceful, **options)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
        worker.stop()
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await container.stop()


async def put(database: Database, kind: str, *names: str, **options: Any) -> None:
    async with database.transaction() as session:
        for name in names:
            await jobs.enqueue(session, kind, {"name": name}, **options)


async def emptied(sql: asyncpg.Connection) -> None:
    async def empty() -> bool:
        return not await sql.fetchval("SELECT count(*) FROM pgqueuer WHERE status <> 'failed'")

    await eventually(empty)
