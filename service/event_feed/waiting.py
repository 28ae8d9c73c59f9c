"""The requests of this process that wait for events: what wakes them, and what ends them.

They hold no database connection while they wait. The sequencer notifies the change feed when it has given
events their places. So that nobody depends on a worker, a process with waiting requests calls it too: soon
after any change that the change feed brings, and every second.
"""

import asyncio
import resource
from contextlib import suppress
from typing import Final

import structlog

from service import events
from service.errors import Overloaded, ServiceError, TooManyRequests
from service.event_feed import metrics
from service.platform.database import Database
from service.platform.database.change_feed import Change, ChangeFeed, ChangeListener

log = structlog.get_logger(__name__)

MAX_PER_CALLER: Final = 10
MAX_PER_PROCESS: Final = 1_000
#: Database connections that all waiting requests together use at most.
MAX_READS: Final = 2
#: How often the sequencer is called at least, and at most.
LONGEST_SECONDS: Final = 1.0
SHORTEST_SECONDS: Final = 0.1


class Waiter:
    """One waiting request."""

    __slots__ = ("_news", "_woken", "ended", "subject")

    def __init__(self, subject: str) -> None:
        self.subject = subject
        #: The client has left, or the process stops.
        self.ended = False
        self._woken, self._news = asyncio.Event(), False

    def wake(self, *, news: bool) -> None:
        """There may be events (`news`), or access may have ended."""
        self._news = self._news or news
        self._woken.set()

    def take_news(self) -> bool:
        """Whether there may be events that have not been read."""
        news, self._news = self._news, False
        return news

    def end(self) -> None:
        self.ended = True
        self._woken.set()

    async def woken(self, until: float) -> bool:
        """Wait to be woken. False when the time is over, the client has left or the process stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._woken.wait()
        if self.ended or not self._woken.is_set():
            return False
        self._woken.clear()
        return True


class EventWaits:
    """All of this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._of_caller: dict[str, set[Waiter]] = {}
        self._count, self._stopping = 0, False
        self._hint = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.reads = asyncio.Semaphore(MAX_READS)
        # Each takes a file descriptor, and so does much else.
        self._most = min(MAX_PER_PROCESS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)

    def __len__(self) -> int:
        return self._count

    @property
    def listener(self) -> ChangeListener:
        return ChangeListener(load=self.load, on_change=self.on_change)

    async def start(self, feed: ChangeFeed) -> None:
        self._stopping = False
        self._task = asyncio.create_task(self._sequence(feed), name="event feed")

    async def stop(self) -> None:
        self.end_all()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def end_all(self) -> None:
        """The process stops: waiting requests are answered, and no new one waits."""
        self._stopping = True
        for waiters in self._of_caller.values():
            for each in waiters:
                each.end()

    def open(self, subject: str) -> Waiter:
        """The caller removes it."""
        mine = self._of_caller.get(subject, ())
        if len(mine) >= MAX_PER_CALLER:
            detail = f"You have {MAX_PER_CALLER} waiting requests already. Follow the events by one, in turn."
            raise TooManyRequests(detail, retry_after=1)
        if self._count >= self._most:
            raise Overloaded("As many requests wait for events as the service allows. Ask without `wait`.")
        waiter = Waiter(subject)
        if self._stopping:
            waiter.end()
        self._of_caller.setdefault(subject, set()).add(waiter)
        self._count += 1
        metrics.WAITING.inc()
        return waiter

    def remove(self, waiter: Waiter) -> None:
        mine = self._of_caller[waiter.subject]
        mine.remove(waiter)
        if not mine:
            del self._of_caller[waiter.subject]
        self._count -= 1
        metrics.WAITING.dec()

    def on_change(self, change: Change) -> None:
        if not self._count:
            return
        if change["of"] == "events":
            self._wake_all()
            return
        if change["of"] in ("users", "sessions", "api_keys"):
            self._wake_all(news=False)
        self._hint.set()

    async def load(self) -> None:
        """The change feed has missed something, it may be an event."""
        self._wake_all()

    def _wake_all(self, *, news: bool = True) -> None:
        for waiters in self._of_caller.values():
            for each in waiters:
                each.wake(news=news)

    async def _sequence(self, feed: ChangeFeed) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_SECONDS):
                    await self._hint.wait()
            self._hint.clear()
            if self._count:
                await self._sequence_once(feed)
            await asyncio.sleep(SHORTEST_SECONDS)

    async def _sequence_once(self, feed: ChangeFeed) -> None:
        try:
            async with self.reads, self._database.reading() as session:
                given = await events.sequence(session)
        except ServiceError:
            given = 0  # it is tried again
        except Exception:
            given = 0
            log.exception("event_feed.sequencing_failed")
        if given or not feed.has_lease:
            self._wake_all()
