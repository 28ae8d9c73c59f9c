"""The queue as a worker sees it: taking jobs, keeping them, and what becomes of them."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
from pgqueuer.domain.models import CronExpressionEntrypoint
from pgqueuer.domain.models import Job as QueuedJob
from pgqueuer.domain.types import (
    CronEntrypoint,
    CronExpression,
    QueueEntrypoint,
    QueueManagerId,
)
from pgqueuer.ports.repository import EntrypointExecutionParameter
from sqlalchemy import BigInteger, Interval, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from service.errors import ReadOnly, Unavailable
from service.platform.database import Record, Session, connections
from service.platform.database.change_feed import is_read_only
from service.platform.jobs import enqueue as jobs
from service.platform.jobs.enqueue import AT_ONCE, NAMES, QUEUE, Statements, queries

#: A listening connection that has gone silent is noticed after so long; jobs are looked for meanwhile.
LISTEN_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """One that a worker has taken. `attempts` counts this one too, and was committed before it begins."""

    id: int
    kind: str
    payload: Mapping[str, Any]
    attempts: int
    #: How often it has been taken since its end was last recorded: above 1 a worker was lost with it.
    taken: int
    #: What `jobs.origin` was where it was enqueued.
    origin: Mapping[str, str]
    #: From when on it could be taken.
    due: datetime


#: pgqueuer counts an attempt when a handler asks for another, so a job that kills its worker would come
#: back for ever. Here it counts when it is taken.
_COUNT = text("""
    UPDATE pgqueuer SET attempts = attempts + 1,
        headers = COALESCE(headers, '{}') || jsonb_build_object(
            'taken', COALESCE(CAST(headers ->> 'taken' AS int), 0) + 1)
    WHERE id = ANY(:ids) RETURNING id, attempts, CAST(headers ->> 'taken' AS int) AS taken
""").bindparams(bindparam("ids", type_=ARRAY(BigInteger)))
#: What is locked is just being recorded: waiting for it could be a deadlock, and it needs no sign any more.
_KEEP = text("""
    UPDATE pgqueuer SET heartbeat = now() WHERE id IN (
        SELECT id FROM pgqueuer WHERE id = ANY(:ids) AND queue_manager_id = :worker FOR UPDATE SKIP LOCKED)
""").bindparams(bindparam("ids", type_=ARRAY(BigInteger)), bindparam("worker", type_=Uuid))
#: Only what is still this worker's: another may have taken it for lost.
_PUT_OFF = text("""
    UPDATE pgqueuer SET status = 'queued', execute_after = now() + :delay, updated = now(),
        queue_manager_id = NULL, headers = headers - 'taken'
    WHERE id = :id AND status = 'picked' AND queue_manager_id = :worker
""").bindparams(bindparam("delay", type_=Interval), bindparam("worker", type_=Uuid))
_FORGIVE = text("UPDATE pgqueuer SET headers = headers - 'taken' WHERE id = :id")
_HAND_BACK = text("""
    UPDATE pgqueuer SET status = 'queued', execute_after = now() + :delay, updated = now(),
        queue_manager_id = NULL, attempts = attempts - 1,
        headers = headers || jsonb_build_object('taken', CAST(headers ->> 'taken' AS int) - 1)
    WHERE id = ANY(:ids) AND status = 'picked' AND queue_manager_id = :worker
""").bindparams(
    bindparam("ids", type_=ARRAY(BigInteger)),
    bindparam("delay", type_=Interval),
    bindparam("worker", type_=Uuid),
)
_STATE = text("""
    SELECT entrypoint AS kind,
        count(*) FILTER (WHERE status = 'queued') AS waiting,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        CAST(COALESCE(EXTRACT(epoch FROM now() - min(execute_after) FILTER (
            WHERE status = 'queued' AND execute_after <= now())), 0) AS float) AS oldest_seconds
    FROM pgqueuer GROUP BY entrypoint
""")
_PURGE_FAILED = text("DELETE FROM pgqueuer WHERE status = 'failed' AND updated < now() - :kept").bindparams(
    bindparam("kept", type_=Interval)
)
_PURGE_LOG = text("""
    DELETE FROM pgqueuer_log WHERE id IN (
        SELECT id FROM pgqueuer_log WHERE created < now() - :kept LIMIT :most
    ) RETURNING id
""").bindparams(bindparam("kept", type_=Interval))


class Queue:
    """Every method is a statement or two, to be committed at once."""

    def __init__(self, worker_id: UUID) -> None:
        self.worker_id = worker_id

    async def take(self, session: Session, kind: str, count: int, *, lost_after: timedelta) -> list[Job]:
        """At most so many that are due, the most urgent first; also those of workers that are lost, which
        have given no sign of life for `lost_after`. Commit before any of them begins.
        """
        found = await queries(session).dequeue(
            count,
            {QueueEntrypoint(kind): EntrypointExecutionParameter(concurrency_limit=0)},
            QueueManagerId(self.worker_id),
            None,
            lost_after,
        )
        if not found:
            return []
        counted = await session.execute(_COUNT, {"ids": [job.id for job in found]})
        counts = {row.id: row for row in counted}
        return [_job(job, counts[job.id]) for job in found]

    async def keep(self, session: Session, job_ids: Collection[int]) -> None:
        """A sign of life."""
        await session.execute(_KEEP, {"ids": list(job_ids), "worker": self.worker_id})

    async def finish(self, session: Session, job_ids: Collection[int]) -> None:
        """They have been done, and leave the table."""
        await _end(session, job_ids, "successful")

    async def fail(self, session: Session, job_id: int) -> None:
        """For good: nobody takes it again. It stays in the table, as `failed`, and may be queued anew."""
        await session.execute(_FORGIVE, {"id": job_id})
        await _end(session, [job_id], "failed")

    async def put_off(self, session: Session, job_id: int, delay: timedelta) -> None:
        """Another attempt, later."""
        await session.execute(_PUT_OFF, {"id": job_id, "delay": delay, "worker": self.worker_id})

    async def hand_back(self, session: Session, job_ids: Collection[int], delay: timedelta = AT_ONCE) -> None:
        """They were taken and not tried to their end: that does not count."""
        values = {"ids": list(job_ids), "delay": delay, "worker": self.worker_id}
        await session.execute(_HAND_BACK, values)


def _job(job: QueuedJob, counted: Record) -> Job:
    return Job(
        id=job.id,
        kind=job.entrypoint,
        payload=json.loads(job.payload or b"{}"),
        attempts=counted.attempts,
        taken=counted.taken,
        origin={name: str(value) for name, value in (job.headers or {}).items() if name != "taken"},
        due=job.execute_after,
    )


async def _end(session: Session, job_ids: Collection[int], status: str) -> None:
    count = len(job_ids)
    statement = QUEUE.build_log_job_query()
    # No traceback: the log lines have it, without what may be somebody's data.
    await Statements(session).execute(statement, list(job_ids), [status] * count, [None] * count)


async def come_round(session: Session, periods: Mapping[str, timedelta]) -> list[str]:
    """Enqueue the kinds whose period has passed, each once however many ask; which those were.

    The first time is at once.
    """
    asked = {
        CronExpressionEntrypoint(CronEntrypoint(kind), CronExpression(f"every {period}")): period
        for kind, period in periods.items()
    }
    schedule = queries(session)
    await schedule.insert_schedule({key: timedelta(0) for key in asked})
    due = await schedule.fetch_schedule(asked)
    for entry in due:
        await jobs.enqueue(session, entry.entrypoint, {}, key=f"every {entry.entrypoint}")
    if due:
        await schedule.set_schedule_queued({entry.id for entry in due})
    return [entry.entrypoint for entry in due]


async def get_state(session: Session) -> list[Record]:
    """Of each kind that is there: how many jobs wait, how many have failed for good, and for how many
    seconds the oldest could have been taken.
    """
    return list((await session.execute(_STATE)).all())


async def purge(session: Session, kept: timedelta, *, most: int) -> int:
    """Delete jobs that failed longer ago than that, and at most so many old records; how many those were."""
    await session.execute(_PURGE_FAILED, {"kept": kept})
    return len((await session.execute(_PURGE_LOG, {"kept": kept, "most": most})).all())


async def listen(url: str, heard: Callable[[], None]) -> None:
    """Call `heard` whenever there may be new jobs, until the connection is lost: that is Unavailable."""

    def notified(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        if '"insert"' in str(payload):
            heard()

    # A connection of its own, that no pool may want for others.
    engine = connections.engine(
        url,
        poolclass=NullPool,
        connect_args={
            "timeout": LISTEN_SECONDS,
            "command_timeout": LISTEN_SECONDS,
            "server_settings": {"application_name": "tradepost jobs"},
        },
    )
    try:
        async with engine.connect() as connection:
            raw: asyncpg.Connection | None = (await connection.get_raw_connection()).driver_connection
            assert raw is not None  # noqa: S101 - it has just been connected
            try:
                closed = asyncio.Event()
                raw.add_termination_listener(lambda _: closed.set())
                await raw.add_listener(NAMES.channel, notified)
                heard()
                while True:
                    # Fails on one that is closed, and on one that is silent.
                    await raw.execute("SELECT 1")
                    if is_read_only(raw):
                        raise ReadOnly
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LISTEN_SECONDS):
                            await closed.wait()
            finally:
                # One that has gone silent would never answer a polite goodbye.
                raw.terminate()
                with contextlib.suppress(SQLAlchemyError, asyncpg.InterfaceError, OSError):
                    await connection.invalidate()
    except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as fault:
        raise Unavailable("The connection that listens for jobs was lost.") from fault
