"""Streams of notifications: who waits for what, what wakes them, and what ends them.

A stream holds nothing while it waits, least of all a database connection. The change feed wakes the
streams of whoever has been told something; each then reads what is newer than what it has sent. One
person's notifications become visible in the order of their ids, so nothing is left behind by that and
nothing comes twice. While the feed's lease has lapsed, asking for all streams of the process at once
takes its place.
"""

import asyncio
import resource
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final, Literal

import structlog

from service.errors import InvalidToken, Overloaded, ServiceError, TooManyRequests, Unavailable
from service.identity import Caller, get_caller, reauthorize
from service.identity.tokens import ACCESS_TOKEN_SECONDS
from service.notifications import repository as notifications
from service.notifications.schemas import Notification, StreamTicket
from service.notifications.streams import metrics
from service.notifications.streams import repository as streams
from service.platform.crypto import fingerprint
from service.platform.database import Database
from service.platform.database.change_feed import Change, ChangeFeed, Reader
from service.platform.http.sse import LAST_SECONDS

log = structlog.get_logger(__name__)

#: Silence is broken by a comment after so long: proxies close what looks dead, often after a minute.
PING_SECONDS: Final = 15.0
TICKET_SECONDS: Final = 30
#: For one user in one process: some windows, and some connections that nobody has found dead yet.
MOST_OF_ONE: Final = 10
MOST: Final = 2_000
#: How many are read, and held, at a time; a client that does not take them gets no more.
AT_ONCE: Final = 50
#: Of the process's database connections, streams never use more.
READS_AT_ONCE: Final = 2
#: How often the database is asked while the feed is not to be believed, and after it has failed.
POLL_SECONDS: Final = 0.5
#: What a client may take to accept what is sent.
STALLED_SECONDS: Final = 20.0

Opener = Literal["token", "ticket"]
Ending = Literal["left", "expired", "revoked", "stopping", "stalled"]


class Stream:
    """One open stream. `next` is for whoever sends, everything else for `Streams`."""

    __slots__ = (
        "_ends", "_patience", "_streams", "_woken", "ended", "last", "opener", "session_id", "user_id",
    )  # fmt: skip

    def __init__(self, streams: "Streams", caller: Caller, opener: Opener, seconds: float) -> None:
        self._streams, self.opener = streams, opener
        self.user_id, self.session_id = caller.user_id, caller.session_id
        self._ends = _now() + min(seconds, streams.longest_seconds)
        self.last = 0
        self.ended: Ending | None = None
        self._woken = asyncio.Event()
        self._patience: asyncio.Timeout | None = None

    async def begin(self, last: int | None) -> None:
        """After that notification, or with the next one.

        An id that is yet to come is another's, or from before a backup: what comes would be missed.
        """
        newest = await self._streams.newest(self.user_id)
        self.last = newest if last is None else min(last, newest)
        if self.last < newest:
            self.wake()

    async def next(self) -> list[Notification] | None:
        """What is new; nothing after so long a silence; None at the end."""
        ping_at = _now() + self._streams.ping_seconds
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
        """For what is handed to the client. Raises TimeoutError when it does not take it."""
        try:
            seconds = LAST_SECONDS if self.ended else self._streams.stalled_seconds
            async with asyncio.timeout(seconds) as self._patience:
                yield
        finally:
            self._patience = None

    def wake(self) -> None:
        self._woken.set()

    def end(self, reason: Ending) -> None:
        """At once; who has not taken what was sent before gets LAST_SECONDS for it."""
        if self.ended is None:
            self.ended = reason
            self._woken.set()
            if self._patience is not None:
                self._patience.reschedule(_now() + LAST_SECONDS)

    def close(self) -> None:
        self.end("left")
        self._streams.forget(self)

    async def _wait(self, until: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._woken.wait()

    async def _read(self) -> list[Notification]:
        self._woken.clear()
        try:
            found = await self._streams.read(self)
        except ServiceError:
            asyncio.get_running_loop().call_later(POLL_SECONDS, self._woken.set)
            return []
        if self.ended is not None:
            return []
        if found:
            self.last = found[-1].id
        if len(found) == AT_ONCE:
            self.wake()
        return found


class Streams:
    """Those of this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._of_user: dict[int, set[Stream]] = {}
        self._count, self._ending = 0, False
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self._feed: ChangeFeed | None = None
        self._polling: asyncio.Task[None] | None = None
        # Each is a file to the kernel, and so is much else.
        self._most = min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self.longest_seconds: float = ACCESS_TOKEN_SECONDS
        self.ping_seconds, self.stalled_seconds = PING_SECONDS, STALLED_SECONDS

    def __len__(self) -> int:
        return self._count

    @property
    def reader(self) -> Reader:
        return Reader(load=self.load, changed=self.changed)

    async def start(self, feed: ChangeFeed) -> None:
        self._feed, self._ending = feed, False
        self._polling = asyncio.create_task(self._poll(feed), name="streams")

    async def stop(self) -> None:
        self.end_all()
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)

    def end_all(self) -> None:
        """The process ends: those that are open are told, and there are no new ones."""
        self._ending = True
        for stream in list(self._all()):
            stream.end("stopping")

    def open(self, caller: Caller, opener: Opener, seconds: float) -> Stream:
        """Whoever opens one closes it. Changes of access are heard from here on, not before."""
        if self._ending:
            raise Unavailable("The service is shutting down. Try again.")
        mine = self._of_user.get(caller.user_id, ())
        if len(mine) >= MOST_OF_ONE:
            detail = f"{MOST_OF_ONE} streams are open already. Close one, or use one for all windows."
            raise TooManyRequests(detail, retry_after=int(PING_SECONDS))
        if self._count >= self._most:
            raise Overloaded("There are as many streams here as there can be. Try again shortly.")
        stream = Stream(self, caller, opener, seconds)
        self._of_user.setdefault(caller.user_id, set()).add(stream)
        self._count += 1
        metrics.stream_opened(opener)
        return stream

    def forget(self, stream: Stream) -> None:
        mine = self._of_user.get(stream.user_id, set())
        if stream in mine:
            mine.remove(stream)
            self._count -= 1
            metrics.stream_ended(stream.opener, stream.ended or "left")
        if not mine:
            self._of_user.pop(stream.user_id, None)

    def changed(self, change: Change) -> None:
        if change["of"] == "notifications":
            for stream in self._of_user.get(change["user_id"], ()):
                if change["id"] > stream.last:
                    stream.wake()
        elif change["of"] == "users" and not change["is_active"]:
            _revoke(self._of_user.get(change["id"], ()))
        elif change["of"] == "sessions":
            _revoke(stream for stream in self._all() if stream.session_id == change["id"])

    async def load(self) -> None:
        """Make up for what has not been heard, for all streams at once."""
        known = list(self._all())
        if not known:
            return
        async with self._database.reading() as session:
            standing = await streams.get_standing(session, {stream.session_id for stream in known})
            newest = await streams.get_newest(session, {stream.user_id for stream in known})
        for stream in known:
            if stream.session_id not in standing:
                stream.end("revoked")
            elif newest.get(stream.user_id, 0) > stream.last:
                stream.wake()

    async def newest(self, user_id: int) -> int:
        """The id of the user's newest notification, or 0."""
        async with self._reads, self._database.reading() as session:
            return (await streams.get_newest(session, [user_id])).get(user_id, 0)

    async def read(self, stream: Stream) -> list[Notification]:
        """What the stream has not sent, AT_ONCE at most. Nobody vouches for its session without the feed."""
        async with self._reads, self._database.reading() as session:
            heard = self._feed is not None and self._feed.current
            if not heard and not await get_caller(
                session, user_id=stream.user_id, session_id=stream.session_id
            ):
                stream.end("revoked")
                return []
            rows = await notifications.find_after(session, stream.user_id, stream.last, AT_ONCE)
        return Notification.all_of(rows)

    def _all(self) -> Iterator[Stream]:
        return (stream for mine in self._of_user.values() for stream in mine)

    async def _poll(self, feed: ChangeFeed) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                if not feed.current:
                    await self.load()
            except ServiceError:
                pass  # the next one will do
            except Exception:
                log.exception("streams.poll_failed")


async def issue_ticket(database: Database, caller: Caller, token_seconds: float) -> StreamTicket:
    """For who cannot send a token. What it opens ends with the token, however late it is used.

    No answer is kept under an idempotency key: who asks twice may have two.
    """
    ticket = secrets.token_urlsafe(32)
    async with database.transaction() as session:
        await reauthorize(session, caller, needs_role=False)
        await streams.add_ticket(
            session,
            caller.session_id,
            fingerprint(ticket),
            lasts=timedelta(seconds=TICKET_SECONDS),
            token_lasts=timedelta(seconds=token_seconds),
        )
    return StreamTicket(ticket=ticket, expires_in=TICKET_SECONDS)


async def use_ticket(database: Database, ticket: str) -> tuple[Caller, float]:
    """Who it admits, and for how many seconds; used up when this answers. Raises InvalidToken."""
    async with database.transaction() as session:
        row = await streams.use_ticket(session, fingerprint(ticket))
    if row is None or row.seconds <= 0:
        raise InvalidToken("The ticket is unknown, used or expired, or its session has ended. Get another.")
    return Caller(row.user_id, row.session_id, row.is_admin), float(row.seconds)


def _revoke(streams: Iterable[Stream]) -> None:
    for stream in streams:
        stream.end("revoked")


def _now() -> float:
    return asyncio.get_running_loop().time()
