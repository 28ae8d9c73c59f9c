"""The open streams of this process: what wakes them, and what ends them.

A subscriber holds nothing while it waits, least of all a database connection. The change feed wakes the
subscribers of a user who got a notification; each then reads what is newer than what it has sent. A user's
notifications become visible in the order of their ids, so none is left out and none is sent twice. While the
feed's lease has expired, one query for all subscribers of the process replaces it.
"""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal

import structlog

from service.errors import Overloaded, ServiceError, TooManyRequests, Unavailable
from service.identity import ACCESS_TOKEN_SECONDS, Caller, get_caller
from service.notifications import repository as notifications
from service.notifications.schemas import Notification
from service.notifications.streams import metrics, repository
from service.platform.database import Database
from service.platform.database.change_feed import Change, ChangeFeed, ChangeListener
from service.platform.http.sse import LAST_SECONDS

log = structlog.get_logger(__name__)

#: A comment is sent after so long a silence: proxies close idle connections, often after a minute.
PING_SECONDS: Final = 15.0
#: For some windows, and some connections that are dead but not closed yet.
MAX_PER_USER: Final = 10
MAX_PER_PROCESS: Final = 2_000
#: How many notifications are read, and held, at a time; no more until the client has taken them.
BATCH: Final = 50
#: Database connections that all subscribers together use at most.
MAX_READS: Final = 2
#: How often the database is asked while the feed is not in sync, and after a failed read.
POLL_SECONDS: Final = 0.5
#: How long a client may take to accept what is sent.
STALLED_SECONDS: Final = 20.0

OpenedBy = Literal["token", "ticket"]
Ending = Literal["left", "expired", "revoked", "stopping", "stalled"]


class Subscriber:
    """One open stream, the source of its response (platform/http/sse.py)."""

    __slots__ = (
        "_ends", "_patience", "_subscribers", "_woken", "ended", "last", "opened_by", "session_id", "user_id",
    )  # fmt: skip

    def __init__(
        self, subscribers: "Subscribers", caller: Caller, opened_by: OpenedBy, seconds: float
    ) -> None:
        self._subscribers, self.opened_by = subscribers, opened_by
        self.user_id, self.session_id = caller.user_id, caller.session_id
        self._ends = _now() + min(seconds, subscribers.longest_seconds)
        self.last = 0
        self.ended: Ending | None = None
        self._woken = asyncio.Event()
        self._patience: asyncio.Timeout | None = None

    async def start(self, last: int | None) -> None:
        """Begin after this notification, or with the next one.

        An id that does not exist yet is another user's, or from before a restored backup: starting there
        would leave notifications out.
        """
        newest = await self._subscribers.newest(self.user_id)
        self.last = newest if last is None else min(last, newest)
        if self.last < newest:
            self.wake()

    async def next(self) -> list[Notification] | None:
        """New notifications; an empty list after a silence; None at the end."""
        ping_at = _now() + self._subscribers.ping_seconds
        while self.ended is None:
            if _now() >= self._ends:
                self.end("expired")
            elif _now() >= ping_at:
                return []
            elif not self._woken.is_set():
                await self._wait(min(ping_at, self._ends))
            elif found := await self._read():
                return found
        return None

    @asynccontextmanager
    async def patience(self) -> AsyncIterator[None]:
        """Around each send. Raises TimeoutError when the client does not accept it."""
        try:
            seconds = LAST_SECONDS if self.ended else self._subscribers.stalled_seconds
            async with asyncio.timeout(seconds) as self._patience:
                yield
        finally:
            self._patience = None

    def wake(self) -> None:
        self._woken.set()

    def end(self, reason: Ending) -> None:
        """At once; the client has LAST_SECONDS to accept what was sent before."""
        if self.ended is None:
            self.ended = reason
            self._woken.set()
            if self._patience is not None:
                self._patience.reschedule(_now() + LAST_SECONDS)

    def close(self) -> None:
        self.end("left")
        self._subscribers.remove(self)

    async def _wait(self, until: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._woken.wait()

    async def _read(self) -> list[Notification]:
        self._woken.clear()
        try:
            found = await self._subscribers.read(self)
        except ServiceError:
            asyncio.get_running_loop().call_later(POLL_SECONDS, self._woken.set)
            return []
        if self.ended is not None:
            return []
        if found:
            self.last = found[-1].id
        if len(found) == BATCH:
            self.wake()
        return found


class Subscribers:
    """All of this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._of_user: dict[int, set[Subscriber]] = {}
        self._count, self._stopping = 0, False
        self._reads = asyncio.Semaphore(MAX_READS)
        self._feed: ChangeFeed | None = None
        self._polling: asyncio.Task[None] | None = None
        # Each takes a file descriptor, and so does much else.
        self._most = min(MAX_PER_PROCESS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self.longest_seconds: float = ACCESS_TOKEN_SECONDS
        self.ping_seconds, self.stalled_seconds = PING_SECONDS, STALLED_SECONDS

    def __len__(self) -> int:
        return self._count

    @property
    def listener(self) -> ChangeListener:
        return ChangeListener(load=self.load, on_change=self.on_change)

    async def start(self, feed: ChangeFeed) -> None:
        self._feed, self._stopping = feed, False
        self._polling = asyncio.create_task(self._poll(feed), name="streams")

    async def stop(self) -> None:
        self.end_all()
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)

    def end_all(self) -> None:
        """The process stops: open streams end, and no new one is accepted."""
        self._stopping = True
        for each in list(self._all()):
            each.end("stopping")

    def open(self, caller: Caller, opened_by: OpenedBy, seconds: float) -> Subscriber:
        """The caller closes it. Changes of access take effect from here on, not before."""
        if self._stopping:
            raise Unavailable("The service is shutting down. Try again.")
        mine = self._of_user.get(caller.user_id, ())
        if len(mine) >= MAX_PER_USER:
            detail = f"You have {MAX_PER_USER} open streams already. Close one, or share one between windows."
            raise TooManyRequests(detail, retry_after=int(PING_SECONDS))
        if self._count >= self._most:
            raise Overloaded("The service has as many open streams as it allows. Try again shortly.")
        subscriber = Subscriber(self, caller, opened_by, seconds)
        self._of_user.setdefault(caller.user_id, set()).add(subscriber)
        self._count += 1
        metrics.stream_opened(opened_by)
        return subscriber

    def remove(self, subscriber: Subscriber) -> None:
        mine = self._of_user.get(subscriber.user_id, set())
        if subscriber in mine:
            mine.remove(subscriber)
            self._count -= 1
            metrics.stream_ended(subscriber.opened_by, subscriber.ended or "left")
        if not mine:
            self._of_user.pop(subscriber.user_id, None)

    def on_change(self, change: Change) -> None:
        if change["of"] == "notifications":
            for each in self._of_user.get(change["user_id"], ()):
                if change["id"] > each.last:
                    each.wake()
        elif change["of"] == "users" and not change["is_active"]:
            _revoke(self._of_user.get(change["id"], ()))
        elif change["of"] == "sessions":
            _revoke(each for each in self._all() if each.session_id == change["id"])

    async def load(self) -> None:
        """Find what the change feed did not deliver, for all subscribers at once."""
        known = list(self._all())
        if not known:
            return
        async with self._database.reading() as session:
            valid = await repository.get_valid_sessions(session, {each.session_id for each in known})
            newest = await repository.get_newest_ids(session, {each.user_id for each in known})
        for each in known:
            if each.session_id not in valid:
                each.end("revoked")
            elif newest.get(each.user_id, 0) > each.last:
                each.wake()

    async def newest(self, user_id: int) -> int:
        """The id of the user's newest notification, or 0."""
        async with self._reads, self._database.reading() as session:
            return (await repository.get_newest_ids(session, [user_id])).get(user_id, 0)

    async def read(self, subscriber: Subscriber) -> list[Notification]:
        """What has not been sent, BATCH at most. While the feed is not in sync, access is checked too."""
        async with self._reads, self._database.reading() as session:
            in_sync = self._feed is not None and self._feed.has_lease
            if not in_sync and not await get_caller(
                session, user_id=subscriber.user_id, session_id=subscriber.session_id
            ):
                subscriber.end("revoked")
                return []
            rows = await notifications.find_after(session, subscriber.user_id, subscriber.last, BATCH)
        return Notification.all_of(rows)

    def _all(self) -> Iterator[Subscriber]:
        return (each for mine in self._of_user.values() for each in mine)

    async def _poll(self, feed: ChangeFeed) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                if not feed.has_lease:
                    await self.load()
            except ServiceError:
                pass  # it is tried again
            except Exception:
                log.exception("streams.poll_failed")


def _revoke(subscribers: Iterable[Subscriber]) -> None:
    for each in subscribers:
        each.end("revoked")


def _now() -> float:
    return asyncio.get_running_loop().time()
