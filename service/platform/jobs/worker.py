"""The loop of a worker: take what is due, run it, record what came of it, and end without losing any.

A job is run at least once. It stays in the table until its end is recorded; a worker that is killed gives
no more signs of life, and after LOST_AFTER another takes what it had. How often that has happened is
counted before a job begins, so that one that kills its worker comes to an end too.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from service.errors import ServiceError
from service.platform.database import Database
from service.platform.database import updated_since as changes
from service.platform.jobs import metrics, queue
from service.platform.jobs.claims import Holdings
from service.platform.jobs.kinds import Attempt, JobKind
from service.platform.jobs.metrics import Outcome
from service.platform.jobs.queue import Job
from service.platform.telemetry import logging, request, tracing
from service.platform.telemetry.request import RequestFacts

log = structlog.get_logger(__name__)

#: Jobs at the same time in one worker, of all kinds: enough that those which wait for others cannot hold up
#: the rest. What uses the database is bounded by kind.
AT_ONCE: Final = 256
#: After so long without a sign of life a worker's jobs are taken by others.
LOST_AFTER: Final = timedelta(seconds=30)
#: Signs of life in that time: one or two may be late.
BEATS: Final = 5
#: How often jobs are looked for that nobody rings for: those that were put off, or lost.
LOOK_SECONDS: Final = 1.0
#: Between two looks: under load many rings are one look.
REST_SECONDS: Final = 0.01
PERIODS_SECONDS: Final = 5.0
MEASURE_SECONDS: Final = 15.0
#: Before changes that no poll has asked for yet are seen by those who ask a read-only copy.
SEQUENCE_SECONDS: Final = 1.0
#: Before what has failed is tried again.
AGAIN_SECONDS: Final = 1.0
#: Before a second attempt at a job; doubled before each further one.
FIRST_PAUSE: Final = 1.0
#: Taken more often than this without an end, a job runs with no other beside it: if it is what kills
#: workers, it takes nobody with it.
SUSPECT: Final = 2
#: Taken more often than this without an end, it has failed.
LOST: Final = 5
#: Of the time that a worker has to end; the rest is for handing back and for the last records.
SHARE_TO_FINISH: Final = 0.8


def pause(attempts: int, longest: float) -> timedelta:
    """Before the next attempt, spread so that what has failed together does not come back together."""
    seconds = min(FIRST_PAUSE * 2 ** (attempts - 1), longest)
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
        lost_after: timedelta = LOST_AFTER,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._database, self._url, self._kinds = database, url, kinds
        self._periods = {name: kind.every for name, kind in kinds.items() if kind.every is not None}
        self._graceful_timeout = graceful_timeout
        self._at_once, self._look_seconds = at_once, look_seconds
        self._beat_seconds = lost_after.total_seconds() / BEATS
        self._held = Holdings(database, lost_after)
        self._running: dict[asyncio.Task[None], Job] = {}
        self._count: Counter[str] = Counter()
        #: The kinds to look for next, and those of which there was no room for all.
        self._asked, self._hungry = set(kinds), set[str]()
        self._bell = asyncio.Event()
        self._stopping, self._leaving = asyncio.Event(), asyncio.Event()
        self.listening = False

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        """Take nothing more, finish what runs, hand back what cannot be finished in time. When asked a
        second time, hand everything back at once.
        """
        if self.stopping:
            self._leaving.set()
        self._stopping.set()
        self._bell.set()

    async def run(self) -> None:
        """Until `stop`. A database that is away ends no worker."""
        helpers = [
            asyncio.create_task(_always(act, seconds), name=f"worker {act.__name__}")
            for act, seconds in (
                (self._listen, AGAIN_SECONDS),
                (self._held.record, 0.0),
                (self._held.give_sign, self._beat_seconds),
                (self._come_round, PERIODS_SECONDS),
                (self._measure, MEASURE_SECONDS),
                (self._sequence, SEQUENCE_SECONDS),
            )
        ]
        taking = asyncio.create_task(self._take(), name="worker take")
        log.info("worker.started", worker_id=str(self._held.worker_id))
        try:
            await self._stopping.wait()
            log.info("worker.asked_to_stop", running=len(self._running))
            await self._finish(taking)
        finally:
            tasks = [taking, *helpers, *self._running]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._settle()

    async def _take(self) -> None:
        while not self.stopping:
            self._bell.clear()
            asked, self._asked = self._asked, set()
            try:
                for name in self._kinds:
                    if name in asked and not self.stopping:
                        await self._fill(name)
            except Exception as fault:  # noqa: BLE001 - without this loop the worker would do nothing more
                _tell("queue.not_reached", fault)
                self._asked |= asked
                await asyncio.sleep(AGAIN_SECONDS)
            await asyncio.sleep(REST_SECONDS)
            try:
                async with asyncio.timeout(self._look_seconds):
                    await self._bell.wait()
            except TimeoutError:
                self._asked = set(self._kinds)

    async def _fill(self, name: str) -> None:
        room = min(self._kinds[name].at_once - self._count[name], self._at_once - self._count.total())
        taken = await self._held.take(name, room) if room > 0 else []
        # There may be more where these came from.
        (self._hungry.add if len(taken) >= room else self._hungry.discard)(name)
        for job in taken:
            if job.taken <= SUSPECT:
                self._begin(job)
        if suspects := [job for job in taken if job.taken > SUSPECT]:
            await self._run_alone(suspects)

    async def _run_alone(self, suspects: list[Job]) -> None:
        """The first of them. The others go back, or they would be taken down with it again."""
        first, *others = suspects
        if others:
            await self._held.hand_back(others, timedelta(seconds=AGAIN_SECONDS))
        while self._running and not self.stopping:
            await asyncio.wait([*self._running], timeout=AGAIN_SECONDS)
        if not self.stopping:
            await asyncio.wait([self._begin(first)])

    def _begin(self, job: Job) -> asyncio.Task[None]:
        task = asyncio.create_task(self._run(job), name=f"job {job.id}")
        self._running[task] = job
        self._count[job.kind] += 1
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._count[self._running.pop(task).kind] -= 1
        if self._hungry:
            self._asked |= self._hungry
            self._bell.set()

    async def _run(self, job: Job) -> None:
        request_id, began = job.origin.get("request_id"), time.perf_counter()
        request.begin(RequestFacts(request_id, job.origin.get("own_id")))
        logging.bind(request_id=request_id, job=job.kind, job_id=job.id)
        metrics.job_begun(job.kind, (datetime.now(UTC) - job.due).total_seconds())
        outcome: Outcome = "handed_back"
        with tracing.work(f"job {job.kind}", job.origin.get("traceparent")):
            try:
                outcome = await self._attempt(job, self._kinds[job.kind])
            finally:
                seconds = time.perf_counter() - began
                metrics.job_ended(job.kind, outcome, seconds, job.attempts)
                ms = round(seconds * 1000, 2)
                log.info("job.ended", outcome=outcome, attempt=job.attempts, duration_ms=ms)

    async def _attempt(self, job: Job, kind: JobKind) -> Outcome:
        attempt = Attempt(job.payload, job.attempts, kind.attempts)
        if job.taken > LOST or attempt.number > attempt.most:
            return await self._give_up(job, job.attempts - 1, "its workers were lost")
        try:
            async with asyncio.timeout(kind.seconds):
                await kind.handler(attempt)
        except Exception as fault:  # noqa: BLE001 - whatever it is, others go on, and it has another attempt
            _tell("job.attempt_failed", fault, attempt=attempt.number)
            if attempt.last:
                return await self._give_up(job, attempt.number, type(fault).__name__)
            await self._recorded(job, self._held.put_off(job, pause(attempt.number, kind.longest_pause)))
            return "put_off"
        self._held.finish(job)
        return "done"

    async def _give_up(self, job: Job, attempts: int, reason: str) -> Outcome:
        log.error("job.failed", attempts=attempts, reason=reason)
        await self._recorded(job, self._held.fail(job))
        return "failed"

    async def _recorded(self, job: Job, recording: Awaitable[None]) -> None:
        try:
            await recording
        except Exception as fault:  # noqa: BLE001 - somebody else will take it for lost
            _tell("job.not_recorded", fault)
            self._held.let_go(job)

    async def _finish(self, taking: asyncio.Task[None]) -> None:
        """Wait for what runs, for as long as there is."""
        leaving = asyncio.create_task(self._leaving.wait())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._graceful_timeout * SHARE_TO_FINISH):
                while not leaving.done():
                    left = [task for task in (taking, *self._running) if not task.done()]
                    if not left:
                        break
                    await asyncio.wait([*left, leaving], return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()

    async def _settle(self) -> None:
        share = 1 - SHARE_TO_FINISH
        try:
            async with asyncio.timeout(self._graceful_timeout * share):
                handed_back = await self._held.settle()
        except Exception as fault:  # noqa: BLE001 - others will take for lost what could not be handed back
            _tell("worker.not_settled", fault)
        else:
            log.info("worker.stopped", handed_back=handed_back)

    async def _listen(self) -> None:
        try:
            await queue.listen(self._url, self._heard)
        finally:
            self.listening = False

    def _heard(self) -> None:
        self.listening = True
        self._asked = set(self._kinds)
        self._bell.set()

    async def _come_round(self) -> None:
        async with self._database.transaction() as session:
            await queue.come_round(session, self._periods)

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


async def _always(act: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Again and again, with this pause; after a fault with a longer one."""
    while True:
        rest = seconds
        try:
            await act()
        except Exception as fault:  # noqa: BLE001 - it is needed for as long as the worker runs
            _tell("worker.helper_failed", fault, act=act.__name__)
            rest = max(seconds, AGAIN_SECONDS)
        await asyncio.sleep(rest)


def _tell(event: str, fault: Exception, **values: object) -> None:
    """What is a fault of ours with its traceback; what passes by itself in a line."""
    if isinstance(fault, ServiceError | OSError):
        log.warning(event, fault=type(fault).__name__, **values)
    else:
        log.error(event, fault=type(fault).__name__, exc_info=fault, **values)
