"""The outbox: mails leave after COMMIT, in the background, and never hold or break a request.

It is in memory, and bounded: what a process that dies has not sent yet is lost, as is what does not
fit. Everything that is mailed can be asked for again, or only tells of what has been done.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Final, TypeVar

import stamina
import structlog

from service.config import Settings
from service.database import Session, after_commit
from service.errors import ServiceError, Unavailable
from service.mail.letters import Kind, Letter, Letters
from service.mail.transports import Transport, Undelivered, transport_for
from service.observability import metrics

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: What waits at most. A mail takes a second or less; hours of them help nobody.
CAPACITY: Final = 1_000
#: Deliveries at the same time, so that one slow mail does not hold the others.
AT_ONCE: Final = 4
TRIES: Final = 4
#: Seconds before the second try; doubled before each further one.
FIRST_PAUSE: Final = 1.0
#: Seconds that are given to what waits when the process stops.
DRAIN_SECONDS: Final = 3.0

#: What finds out whether there is something to write, and writes it.
Errand = Callable[[], Awaitable[Letter | None]]


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: Kind
    errand: Errand
    #: Of the request that caused it, so that log lines name that.
    context: Context


class Mailer:
    def __init__(
        self,
        settings: Settings,
        transport: Transport | None = None,
        *,
        capacity: int = CAPACITY,
        first_pause: float = FIRST_PAUSE,
        drain: float = DRAIN_SECONDS,
    ) -> None:
        self.letters = Letters(settings)
        self._transport = transport or transport_for(settings)
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue(capacity)
        self._first_pause, self._drain = first_pause, drain
        self._workers: list[asyncio.Task[None]] = []

    def tell(self, session: Session, kind: Kind, to: str, **values: str) -> None:
        """Write to somebody of what this transaction does, once it is committed."""
        letter = self.letters.write(kind, to, **values)

        async def errand() -> Letter:
            return letter

        self.follow(session, kind, errand)

    def follow(self, session: Session, kind: Kind, errand: Errand) -> None:
        """Run an errand once this transaction is committed."""
        after_commit(session, lambda: self.queue(kind, errand))

    def queue(self, kind: Kind, errand: Errand) -> None:
        """Run an errand soon, where nothing has to be committed first. Never raises, never waits."""
        try:
            self._queue.put_nowait(_Entry(kind, errand, copy_context()))
        except asyncio.QueueFull:
            log.error("mail.dropped", kind=kind, reason="the outbox is full")  # noqa: TRY400 - no fault of code
            metrics.mail_ended(kind, "dropped")

    async def start(self) -> None:
        self._workers = [
            asyncio.create_task(self._work(), name=f"mail {number}") for number in range(AT_ONCE)
        ]

    async def idle(self) -> None:
        """Return when nothing waits and nothing is under way."""
        await self._queue.join()

    async def stop(self) -> None:
        """Give what waits a moment, then let the process end; what is left is told and counted."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain if self._workers else 0):
                await self.idle()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        while not self._queue.empty():
            _lost(self._queue.get_nowait().kind)
            self._queue.task_done()

    async def _work(self) -> None:
        while True:
            entry = await self._queue.get()
            try:
                await asyncio.create_task(self._run(entry), context=entry.context)
            finally:
                self._queue.task_done()

    async def _run(self, entry: _Entry) -> None:
        kind = entry.kind
        try:
            letter = await self._retried(entry.errand)
            if letter is not None:
                outcome = await self._retried(lambda: self._transport.deliver(letter))
                metrics.mail_ended(kind, outcome)
        except asyncio.CancelledError:
            _lost(kind)
            raise
        except Undelivered as fault:
            log.error("mail.failed", kind=kind, reason=str(fault))  # noqa: TRY400 - its cause may quote addresses
            metrics.mail_ended(kind, "failed")
        except Exception as fault:  # noqa: BLE001 - a worker must outlive whatever an errand does
            level = log.error if isinstance(fault, ServiceError) else log.exception
            level("mail.failed", kind=kind, reason=type(fault).__name__)
            metrics.mail_ended(kind, "failed")

    async def _retried(self, act: Callable[[], Awaitable[T]]) -> T:
        attempts = stamina.retry_context(
            on=_passes,
            attempts=TRIES,
            timeout=None,
            wait_initial=self._first_pause,
            wait_jitter=self._first_pause,
        )
        async for attempt in attempts:
            with attempt:
                done = await act()
        return done


def _passes(fault: Exception) -> bool:
    return isinstance(fault, Unavailable) or (isinstance(fault, Undelivered) and fault.passing)


def _lost(kind: Kind) -> None:
    log.error("mail.lost", kind=kind, reason="the process stopped")
    metrics.mail_ended(kind, "lost")
