"""The loop of a worker: claim what is due, run it, record its outcome, and end without losing any.

A job is run at least once. It stays in the table until its end is recorded; the lease of a worker that is
killed expires, and another claims what it had. How often that has happened is counted before a job starts, so
that one which kills its worker comes to an end too.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from service.errors import ServiceError
from service.platform.database import Database
from service.platform.database import sequenced_changes as changes
from service.platform.database.connections import cause_of
from service.platform.jobs import metrics, queue
from service.platform.jobs.background import RETRY_SECONDS, log_fault, repeat
from service.platform.jobs.claims import Claims, Job
from service.platform.jobs.kinds import Attempt, JobKind
from service.platform.jobs.listener import listen
from service.platform.jobs.metrics import Outcome
from service.platform.telemetry import logging, request_facts, tracing
from service.platform.telemetry.repeats import Repeats
from service.platform.telemetry.request_facts import RequestFacts

log = structlog.get_logger(__name__)

#: Jobs at the same time in one worker, of all kinds: enough that those which wait for others cannot hold up
#: the rest. What uses the database is bounded by kind.
AT_ONCE: Final = 256
#: After so long without a heartbeat other workers claim a worker's jobs.
LEASE: Final = timedelta(seconds=30)
#: Heartbeats in that time: one or two may be late.
HEARTBEATS: Final = 5
#: How often to look for jobs without a notification: for those to be retried, and those of lost workers.
POLL_SECONDS: Final = 1.0
#: Between two claims: under load one serves many notifications.
PAUSE_SECONDS: Final = 0.01
SCHEDULE_SECONDS: Final = 5.0
MEASURE_SECONDS: Final = 15.0
#: Before changes that no poll has asked for yet are seen by clients of a read-only copy.
SEQUENCE_SECONDS: Final = 1.0
#: Before a second attempt at a job; doubled before each further one.
FIRST_BACKOFF: Final = 1.0
#: Claimed more often than this without an end, a job runs alone: if it kills workers, no other goes with it.
ISOLATE_AFTER: Final = 2
#: Claimed more often than this without an end, it has failed.
MOST_CLAIMS: Final = 5
#: Of the time that a worker has to end; the rest is for releasing jobs and for the last records.
SHARE_TO_FINISH: Final = 0.8


def backoff(attempts: int, longest: float) -> timedelta:
    """Before the next attempt, spread so that what has failed together is not retried together."""
    seconds = min(FIRST_BACKOFF * 2 ** (attempts - 1), longest)
    return timedelta(seconds=seconds * random.uniform(0.5, 1.0))  # noqa: S311 - it is no secret


class Worker:
    def __init__(
        self,
        database: Database,
        url: str,
        kinds: Mapping[str, JobKind],
        *,
        graceful_timeout: float,
        at_once: int = AT_ONCE,
        lease: timedelta = LEASE,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """`url` leads to the same database, past any pooler: over it the worker listens."""
        self._database, self._url, self._kinds = database, url, kinds
        self._periods = {name: kind.every for name, kind in kinds.items() if kind.every is not None}
        self._graceful_timeout = graceful_timeout
        self._at_once, self._poll_seconds = at_once, poll_seconds
        self._heartbeat_seconds = lease.total_seconds() / HEARTBEATS
        self._claims = Claims(database, lease)
        self._running: dict[asyncio.Task[None], Job] = {}
        #: Running jobs by kind, and whether more may be due than there was room for.
        self._count, self._backlog = Counter[str](), False
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        #: Whether the database notifies it of new jobs, and if not, why.
        self.listening, self.cause = False, ""

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        """Claim nothing more, finish what runs, release what cannot be finished in time. When called a second
        time, release everything at once.
        """
        if self.stopping:
            for task in self._running:
                task.cancel()
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Until `stop`. A database that is away ends no worker."""
        background = [
            asyncio.create_task(repeat(act, seconds), name=f"worker {act.__name__}")
            for act, seconds in (
                (self._listen, RETRY_SECONDS),
                (self._claims.record_finished, 0.0),
                (self._claims.heartbeat, self._heartbeat_seconds),
                (self._enqueue_due, SCHEDULE_SECONDS),
                (self._measure, MEASURE_SECONDS),
                (self._sequence, SEQUENCE_SECONDS),
            )
        ]
        claiming = asyncio.create_task(self._claim_until_stopped(), name="worker claim")
        log.info("worker.started", worker_id=str(self._claims.worker_id))
        try:
            await self._stopping.wait()
            log.info("worker.asked_to_stop", running=len(self._running))
            await self._drain(claiming)
        finally:
            await _cancel([claiming, *background, *self._running])
        await self._release_all()

    async def _claim_until_stopped(self) -> None:
        repeats = Repeats()
        while not self.stopping:
            self._wake.clear()
            try:
                await self._claim()
                repeats.end()
            except Exception as fault:  # noqa: BLE001 - without this loop the worker would do nothing more
                if repeats.is_due(type(fault).__name__):
                    log_fault("queue.not_reached", fault)
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(PAUSE_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._wake.wait()

    async def _claim(self) -> None:
        room = {name: kind.at_once - self._count[name] for name, kind in self._kinds.items()}
        most = self._at_once - self._count.total()
        wanted = {name: count for name, count in room.items() if count > 0}
        jobs = await self._claims.claim(wanted, most) if wanted and most > 0 else []
        claimed = Counter(job.kind for job in jobs)
        self._backlog = len(jobs) >= most or any(claimed[name] >= count for name, count in room.items())
        if self.stopping:
            return  # they are released at the end
        for job in jobs:
            if job.claims <= ISOLATE_AFTER:
                self._start(job)
        if suspects := [job for job in jobs if job.claims > ISOLATE_AFTER]:
            await self._run_alone(suspects)

    async def _run_alone(self, jobs: list[Job]) -> None:
        """The first of them. The others are released, or a worker that is killed would count against them."""
        first, *others = jobs
        if others:
            await self._claims.release(others, timedelta(seconds=RETRY_SECONDS))
        while self._running and not self.stopping:
            await asyncio.wait([*self._running], timeout=RETRY_SECONDS)
        if not self.stopping:
            await asyncio.wait([self._start(first)])

    def _start(self, job: Job) -> asyncio.Task[None]:
        task = asyncio.create_task(self._run(job), name=f"job {job.id}")
        self._running[task] = job
        self._count[job.kind] += 1
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._count[self._running.pop(task).kind] -= 1
        if self._backlog:
            self._wake.set()

    async def _run(self, job: Job) -> None:
        request_id, began = job.origin.get("request_id"), time.perf_counter()
        request_facts.begin(RequestFacts(request_id, job.origin.get("own_id")))
        logging.bind(request_id=request_id, job=job.kind, job_id=job.id)
        metrics.job_begun(job.kind, (datetime.now(UTC) - job.due).total_seconds())
        outcome: Outcome = "handed_back"
        with tracing.job_span(f"job {job.kind}", job.origin.get("traceparent")):
            try:
                outcome = await self._attempt(job, self._kinds[job.kind])
            finally:
                seconds = time.perf_counter() - began
                metrics.job_ended(job.kind, outcome, seconds, job.attempts)
                ms = round(seconds * 1000, 2)
                log.info("job.ended", outcome=outcome, attempt=job.attempts, duration_ms=ms)

    async def _attempt(self, job: Job, kind: JobKind) -> Outcome:
        attempt = Attempt(job.payload, job.attempts, kind.attempts)
        if job.claims > MOST_CLAIMS or attempt.number > attempt.most:
            return await self._fail(job, job.attempts - 1, "its workers were lost")
        try:
            async with asyncio.timeout(kind.seconds):
                await kind.handler(attempt)
        except Exception as fault:  # noqa: BLE001 - whatever it is, others go on, and it has another attempt
            log_fault("job.attempt_failed", fault, attempt=attempt.number)
            if attempt.last:
                return await self._fail(job, attempt.number, type(fault).__name__)
            delay = backoff(attempt.number, kind.longest_pause)
            await self._recorded(job, self._claims.retry_later(job, delay))
            return "put_off"
        self._claims.finish(job)
        return "done"

    async def _fail(self, job: Job, attempts: int, reason: str) -> Outcome:
        log.error("job.failed", attempts=attempts, reason=reason)
        await self._recorded(job, self._claims.fail(job))
        return "failed"

    async def _recorded(self, job: Job, recording: Awaitable[None]) -> None:
        try:
            await recording
        except Exception as fault:  # noqa: BLE001 - its lease expires, and it is claimed again
            log_fault("job.not_recorded", fault)
            self._claims.forget(job)

    async def _drain(self, claiming: asyncio.Task[None]) -> None:
        """Wait for what runs, as long as there is time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._graceful_timeout * SHARE_TO_FINISH):
                await asyncio.wait([claiming])
                await asyncio.gather(*self._running, return_exceptions=True)

    async def _release_all(self) -> None:
        try:
            async with asyncio.timeout(self._graceful_timeout * (1 - SHARE_TO_FINISH)):
                released = await self._claims.release_all()
        except Exception as fault:  # noqa: BLE001 - the leases of what could not be released expire
            log_fault("worker.not_settled", fault)
        else:
            log.info("worker.stopped", handed_back=released)

    async def _listen(self) -> None:
        try:
            await listen(self._url, self._notified)
        except ServiceError as fault:
            self.cause = cause_of(fault)
            raise
        finally:
            self.listening = False

    def _notified(self) -> None:
        self.listening = True
        self._wake.set()

    async def _enqueue_due(self) -> None:
        async with self._database.transaction() as session:
            await queue.enqueue_due(session, self._periods)

    async def _sequence(self) -> None:
        async with self._database.reading() as session:
            await changes.sequence(session)

    async def _measure(self) -> None:
        async with self._database.reading() as session:
            found = {row.kind: row for row in await queue.get_state(session)}
        for kind in self._kinds:
            row = found.get(kind)
            metrics.queue_seen(
                kind,
                waiting=row.waiting if row else 0,
                failed=row.failed if row else 0,
                oldest_seconds=row.oldest_seconds if row else 0.0,
            )


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: during a COMMIT a task gets OutcomeUnknown instead, and may go on."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=RETRY_SECONDS)
