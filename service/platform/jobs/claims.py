"""What one worker has taken from the queue, from the taking until its end is recorded."""

import asyncio
import uuid
from collections.abc import Collection
from datetime import timedelta
from typing import Final

import structlog

from service.platform.database import Database
from service.platform.jobs.enqueue import AT_ONCE
from service.platform.jobs.queue import Job, Queue

log = structlog.get_logger(__name__)


class Holdings:
    def __init__(self, database: Database, lost_after: timedelta) -> None:
        self.worker_id: Final = uuid.uuid4()
        self._database, self._lost_after = database, lost_after
        self._queue = Queue(self.worker_id)
        self._held: set[int] = set()
        self._done: set[int] = set()
        self._some_done = asyncio.Event()

    async def take(self, kind: str, count: int) -> list[Job]:
        """What is due, each counted as an attempt before this answers."""
        async with self._database.transaction() as session:
            taken = await self._queue.take(session, kind, count, lost_after=self._lost_after)
        # After signs of life that came late a worker may take its own for lost.
        fresh = [job for job in taken if job.id not in self._held]
        self._held.update(job.id for job in fresh)
        return fresh

    async def give_sign(self) -> None:
        """That they are being worked on."""
        if self._held:
            async with self._database.reading() as session:
                await self._queue.keep(session, self._held)

    def finish(self, job: Job) -> None:
        """It has been done. Recorded soon, with others: `record` has to run."""
        self._done.add(job.id)
        self._some_done.set()

    async def record(self) -> None:
        """Wait for what has been done, and record it."""
        await self._some_done.wait()
        self._some_done.clear()
        await self._record_done()

    async def _record_done(self) -> None:
        done = frozenset(self._done)
        if not done:
            return
        try:
            async with self._database.reading() as session:
                await self._queue.finish(session, done)
        except BaseException:
            self._some_done.set()
            raise
        self._done -= done
        self._held -= done

    async def fail(self, job: Job) -> None:
        async with self._database.transaction() as session:
            await self._queue.fail(session, job.id)
        self._held.discard(job.id)

    async def put_off(self, job: Job, delay: timedelta) -> None:
        async with self._database.reading() as session:
            await self._queue.put_off(session, job.id, delay)
        self._held.discard(job.id)

    def let_go(self, job: Job) -> None:
        """Its end could not be recorded: without a sign of life somebody will take it again."""
        self._held.discard(job.id)

    async def hand_back(self, jobs: Collection[Job], delay: timedelta = AT_ONCE) -> None:
        """They have not been tried, and it does not count that they were taken."""
        ids = {job.id for job in jobs}
        async with self._database.reading() as session:
            await self._queue.hand_back(session, ids, delay)
        self._held -= ids

    async def settle(self) -> int:
        """At the end: record what has been done, hand back the rest. How many that were."""
        await self._record_done()
        rest = frozenset(self._held)
        if rest:
            async with self._database.reading() as session:
                await self._queue.hand_back(session, rest)
            self._held.clear()
        return len(rest)
