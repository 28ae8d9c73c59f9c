"""The jobs that one worker has claimed, from the claim until their end is recorded.

A claim is a lease that heartbeats renew. When it expires, as when the worker is killed, another may claim the
job. Each method is one statement, committed when it returns.
"""

import asyncio
import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from sqlalchemy import TextClause, text

from service.platform.database import Database, Record
from service.platform.jobs.queue import NOW

#: For each kind, claims the jobs that are due and those whose lease has expired, the most urgent first; the
#: kinds are in order of urgency too. An attempt counts when it is claimed, so that a job which kills its
#: worker comes to an end too; `taken` in the headers is how often it was claimed since an end was last
#: recorded.
_CLAIM = text("""
    WITH due AS (
        SELECT id
        FROM unnest(CAST(:kinds AS text[]), CAST(:counts AS int[]))
            WITH ORDINALITY AS wanted (kind, count, position)
        CROSS JOIN LATERAL (
            SELECT id, priority FROM (
                SELECT id, priority FROM pgqueuer
                WHERE entrypoint = wanted.kind AND status = 'queued' AND execute_after < now()
                ORDER BY priority DESC, id LIMIT wanted.count FOR UPDATE SKIP LOCKED
            ) AS queued
            UNION ALL
            SELECT id, priority FROM (
                SELECT id, priority FROM pgqueuer
                WHERE entrypoint = wanted.kind AND status = 'picked'
                    AND heartbeat < now() - CAST(:lease AS interval) AND id <> ALL(:own)
                ORDER BY priority DESC, id LIMIT wanted.count FOR UPDATE SKIP LOCKED
            ) AS lost
            ORDER BY priority DESC, id LIMIT wanted.count
        ) AS job
        ORDER BY position, priority DESC, id LIMIT :most
    ), claimed AS (
        UPDATE pgqueuer SET status = 'picked', updated = now(), heartbeat = now(), queue_manager_id = :worker,
            attempts = attempts + 1,
            headers = COALESCE(headers, '{}') || jsonb_build_object(
                'taken', COALESCE(CAST(headers ->> 'taken' AS int), 0) + 1)
        WHERE id IN (SELECT id FROM due)
        RETURNING *
    ), logged AS (
        INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority)
        SELECT id, status, entrypoint, priority FROM claimed
    )
    SELECT id, entrypoint, payload, attempts, headers, execute_after FROM claimed
    ORDER BY array_position(CAST(:kinds AS text[]), entrypoint), priority DESC, id
""")
#: A locked job is being recorded at this moment: it needs no heartbeat, and waiting for its lock could
#: deadlock.
_HEARTBEAT = text("""
    UPDATE pgqueuer SET heartbeat = now() WHERE id IN (
        SELECT id FROM pgqueuer WHERE id = ANY(:ids) AND queue_manager_id = :worker FOR UPDATE SKIP LOCKED)
""")
_FINISH = text("""
    WITH ended AS (DELETE FROM pgqueuer WHERE id = ANY(:ids) RETURNING id, entrypoint, priority)
    INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority)
    SELECT id, 'successful', entrypoint, priority FROM ended
""")
_FAIL = text("""
    WITH ended AS (
        UPDATE pgqueuer SET status = 'failed', updated = now(), queue_manager_id = NULL,
            headers = headers - 'taken'
        WHERE id = ANY(:ids) RETURNING id, entrypoint, priority)
    INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority)
    SELECT id, 'failed', entrypoint, priority FROM ended
""")
#: Only while the job is still claimed by this worker: another may have claimed it since.
_RETRY_LATER = text("""
    UPDATE pgqueuer SET status = 'queued', execute_after = now() + CAST(:delay AS interval), updated = now(),
        queue_manager_id = NULL, headers = headers - 'taken'
    WHERE id = ANY(:ids) AND status = 'picked' AND queue_manager_id = :worker
""")
_RELEASE = text("""
    UPDATE pgqueuer SET status = 'queued', execute_after = now() + CAST(:delay AS interval), updated = now(),
        queue_manager_id = NULL, attempts = attempts - 1,
        headers = headers || jsonb_build_object('taken', CAST(headers ->> 'taken' AS int) - 1)
    WHERE id = ANY(:ids) AND status = 'picked' AND queue_manager_id = :worker
""")


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed one. `attempts` counts this one too, and was committed before it starts."""

    id: int
    kind: str
    payload: Mapping[str, Any]
    attempts: int
    #: How often it was claimed since an end was last recorded: above 1, a worker was lost with it.
    claims: int
    #: What `queue.origin` was where it was enqueued.
    origin: Mapping[str, str]
    #: From when on it could be claimed.
    due: datetime

    @classmethod
    def of(cls, row: Record) -> Self:
        headers = dict(row.headers)
        claims = headers.pop("taken")
        origin = {name: str(value) for name, value in headers.items()}
        payload = json.loads(row.payload or b"{}")
        return cls(row.id, row.entrypoint, payload, row.attempts, claims, origin, row.execute_after)


class Claims:
    def __init__(self, database: Database, lease: timedelta) -> None:
        self.worker_id: Final = uuid.uuid4()
        self._database, self._lease = database, lease
        self._claimed: set[int] = set()
        self._done: set[int] = set()
        self._some_done = asyncio.Event()

    async def claim(self, counts: Mapping[str, int], most: int) -> list[Job]:
        """At most so many jobs of each kind, and `most` of all."""
        values = {"kinds": list(counts), "counts": list(counts.values()), "most": most, "lease": self._lease}
        async with self._database.reading() as session:
            # Heartbeats may have been late: its own jobs are not lost to itself.
            rows = await session.rows(_CLAIM, values | {"worker": self.worker_id, "own": [*self._claimed]})
            jobs = [Job.of(row) for row in rows]
        self._claimed.update(job.id for job in jobs)
        return jobs

    async def heartbeat(self) -> None:
        if self._claimed:
            await self._execute(_HEARTBEAT, self._claimed, worker=self.worker_id)

    def finish(self, job: Job) -> None:
        """Mark the job as done. `record_finished`, which has to run, records it soon, with others."""
        self._done.add(job.id)
        self._some_done.set()

    async def record_finished(self) -> None:
        """Wait for a job that has been done, and record all that have been."""
        await self._some_done.wait()
        if done := frozenset(self._done):
            await self._execute(_FINISH, done)
            self._done -= done
            self._claimed -= done
        if not self._done:
            self._some_done.clear()

    async def fail(self, job: Job) -> None:
        """For good: the job stays in the table, as `failed`, and no worker claims it."""
        await self._execute(_FAIL, [job.id])
        self.forget(job)

    async def retry_later(self, job: Job, delay: timedelta) -> None:
        await self._execute(_RETRY_LATER, [job.id], delay=delay, worker=self.worker_id)
        self.forget(job)

    def forget(self, job: Job) -> None:
        """Send no more heartbeats for it: its end could not be recorded, so its lease has to expire."""
        self._claimed.discard(job.id)

    async def release(self, jobs: Collection[Job], delay: timedelta = NOW) -> None:
        """Give back jobs that were not run to their end: this attempt does not count."""
        await self._release(frozenset(job.id for job in jobs), delay)

    async def release_all(self) -> int:
        """At the worker's end: record what has been done, and release the rest; how many those were."""
        if self._done:
            await self.record_finished()
        rest = frozenset(self._claimed)
        if rest:
            await self._release(rest, NOW)
        return len(rest)

    async def _release(self, ids: frozenset[int], delay: timedelta) -> None:
        await self._execute(_RELEASE, ids, delay=delay, worker=self.worker_id)
        self._claimed -= ids

    async def _execute(self, statement: TextClause, ids: Collection[int], **values: object) -> None:
        async with self._database.reading() as session:
            await session.execute(statement, {"ids": [*ids], **values})
