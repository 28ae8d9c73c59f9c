"""The change feed: every process learns, at COMMIT, what others have changed.

Triggers NOTIFY one channel; each process LISTENs on a connection of its own and hands what it receives to
its listeners. A lease says how long what they hold is valid: it is renewed by a query over that same
connection. PostgreSQL delivers notifications in the order of commits and before the result of a later query,
so when the result arrives, everything that was committed before the query has been received. When the
connection is closed or silent the lease expires, and the database has to be asked.

Between a COMMIT and its notification there is a moment. A process is in sync when it has received all that
the processes of its master have committed (`sync`): a client that has got an answer here and asks again gets
nothing older. What others commit is received as soon as PostgreSQL sends it.

That holds for a connection that really receives. Behind a pooler that hands connections around, queries are
answered and notifications lost: so the first lease is only given when a notification of the process itself
has come back, on the way that changes take.
"""

import asyncio
import contextlib
import itertools
import json
import mmap
import os
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import structlog

from service.errors import ReadOnly, ServiceError
from service.platform.database import connections
from service.platform.database.clock import DatabaseClock
from service.platform.database.errors import FAULTS
from service.platform.telemetry.repeats import Repeats

log = structlog.get_logger(__name__)

CHANNEL: Final = "tradepost_changes"
#: How often the lease is renewed, and how long it lasts from when its query was asked: an answer given
#: under it is never staler than that, and a renewal may be two thirds late.
RENEW_SECONDS: Final = 0.3
LEASE_SECONDS: Final = 0.9
CONNECT_SECONDS: Final = 3.0
LONGEST_PAUSE_SECONDS: Final = 2.0
#: How long a process waits for its first lease before its first request, which then needs no query for it.
START_SECONDS: Final = 1.0
#: The query that renews the lease, and what the database's clock says.
RENEWAL: Final = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS float8)"

#: A byte for each feed: 1 when something was committed since its last query. It is inherited by what is
#: forked after the import, so that the workers of one master share it. A commit sets all of them; each feed
#: clears its own before its query: so none is missed, whatever comes in between.
SLOTS: Final = 4096
_unsynced: Final = mmap.mmap(-1, SLOTS)
_ALL_UNSYNCED: Final = b"\1" * SLOTS
_feeds: Final = itertools.count()
_worker: int | None = None

Change = dict[str, Any]
#: Publishes a text to a channel, through the same database that changes are written to.
Notify = Callable[[str, str], Awaitable[None]]


def set_worker_number(number: int) -> None:
    """Called before the fork with the worker's number, counted from the master's start. No two workers that
    live at the same time have the same byte then, as with process ids they might.
    """
    global _worker  # noqa: PLW0603 - it is the child's, who inherits it
    _worker = number


def mark_committed() -> None:
    """Note that a transaction has been committed, or may have been."""
    _unsynced[:] = _ALL_UNSYNCED


class NotReceiving(Exception):
    """The connection receives no notifications, or one that could not be read."""


@dataclass(frozen=True)
class ChangeListener:
    """A receiver of changes. `load` reads the current state, after listening has begun, so that no change is
    missed; `on_change` is given each change, with `of` naming what it is a change of.
    """

    load: Callable[[], Awaitable[None]]
    on_change: Callable[[Change], None]


class ChangeFeed:
    def __init__(self, url: str, listeners: tuple[ChangeListener, ...], notify: Notify) -> None:
        self._url = url
        self._listeners, self._notify = listeners, notify
        self.clock = DatabaseClock()
        self._lease_ends = 0.0
        self.renew_seconds = RENEW_SECONDS
        self._unreadable = False
        self._probe, self._probe_received = "", asyncio.Event()
        #: A query for earlier commits is under way; one is requested before its time; the end of each.
        self._syncing, self._requested, self._round_ended = False, asyncio.Event(), asyncio.Event()
        self._slot = ((os.getpid() if _worker is None else _worker) + next(_feeds)) % SLOTS
        self._first_attempt = asyncio.Event()
        #: Why the connection could not be made, or was lost; "" while it listens.
        self.cause = ""
        self._had_lease = False
        #: When each cause was logged, since the connection was last there.
        self._repeats = Repeats()
        self._task: asyncio.Task[None] | None = None

    @property
    def has_lease(self) -> bool:
        """Whether what the listeners hold is less than LEASE_SECONDS behind the database."""
        return time.monotonic() < self._lease_ends

    @property
    def in_sync(self) -> bool:
        """Whether it has its lease, and has received all that was committed here."""
        return not self._syncing and not _unsynced[self._slot] and self.has_lease

    async def sync(self) -> bool:
        """Wait until all that was committed here before this call is received. False if the lease expires."""
        for _ in range(2):  # a round that is under way may have begun too early
            if self.in_sync or not self.has_lease:
                break
            self._requested.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEASE_SECONDS):
                    await self._round_ended.wait()
        return self.has_lease

    async def start(self) -> None:
        """Begin to listen, and wait for the first attempt, but not for long: a process starts without a
        database too.
        """
        self._task = asyncio.create_task(self._run(), name="change feed")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await self._first_attempt.wait()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause = 0.05
        while True:
            began = time.monotonic()
            try:
                await self._listen()
            except Exception as fault:  # noqa: BLE001 - without this task there is no feed until the process ends
                self._log(fault)
            finally:
                self._lease_ends = 0.0
                self._first_attempt.set()
                self._end_round()
            pause = 0.05 if time.monotonic() - began > LONGEST_PAUSE_SECONDS else pause * 2
            pause = min(pause, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads reconnections

    def _log(self, fault: Exception) -> None:
        """Once for each cause, and every few minutes. What was never there is not lost: until the first
        lease the start-up says what it waits for.
        """
        self.cause = str(fault) if isinstance(fault, NotReceiving) else connections.cause_of(fault)
        if not self._repeats.is_due(self.cause):
            return
        if isinstance(fault, NotReceiving):
            log.error("changes.not_heard", fault=self.cause)
        elif not isinstance(fault, (*FAULTS, ServiceError)):
            log.error("changes.failed", exc_info=fault)
        elif self._had_lease:
            log.warning("changes.connection_lost", fault=type(fault).__name__, cause=self.cause)

    async def _listen(self) -> None:
        async with connections.listening(
            self._url, name="tradepost changes", connect_seconds=CONNECT_SECONDS, answer_seconds=LEASE_SECONDS
        ) as raw:
            self._unreadable = False
            await raw.add_listener(CHANNEL, self._received)
            await self._check_receiving(raw)
            for listener in self._listeners:
                await listener.load()
            while True:
                await self._renew(raw)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.renew_seconds):
                        await self._requested.wait()
                self._requested.clear()

    async def _renew(self, raw: asyncpg.Connection) -> None:
        began, self._syncing = time.monotonic(), bool(_unsynced[self._slot])
        _unsynced[self._slot] = 0
        now = await raw.fetchval(RENEWAL)
        self.clock.set(now, at=(began + time.monotonic()) / 2)
        if is_read_only(raw):
            # A primary that has been demoted receives nothing of what is written to the new one.
            raise ReadOnly
        if self._unreadable:
            raise NotReceiving("A notification could not be read: what is held is read anew.")
        self._lease_ends = began + LEASE_SECONDS
        if self.cause or not self._had_lease:
            log.info("changes.subscribed")
            self._had_lease, self.cause = True, ""
            self._repeats.end()
        self._first_attempt.set()
        self._end_round()

    def _end_round(self) -> None:
        self._syncing = False
        self._round_ended.set()
        self._round_ended = asyncio.Event()

    async def _check_receiving(self, raw: asyncpg.Connection) -> None:
        self._probe, self._probe_received = secrets.token_hex(8), asyncio.Event()
        await self._notify(CHANNEL, json.dumps({"of": "feed", "word": self._probe}))
        try:
            async with asyncio.timeout(LEASE_SECONDS):
                await self._probe_received.wait()
        except TimeoutError:
            # Fails where the connection was lost meanwhile, which is another cause.
            await raw.execute("SELECT 1")
            raise NotReceiving(
                "no notification arrives: DATABASE_DIRECT_URL must lead to the same database, past any pooler"
            ) from None

    def _received(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        try:
            change = json.loads(str(payload))
            if change["of"] == "feed":
                if change["word"] == self._probe:
                    self._probe_received.set()
                return
            for listener in self._listeners:
                listener.on_change(change)
        except Exception:
            # It may have ended a session: nothing held is valid until all is read anew.
            log.exception("changes.misread")
            self._unreadable, self._lease_ends = True, 0.0


def is_read_only(raw: asyncpg.Connection) -> bool:
    """As the server has said by itself when it last answered (PostgreSQL 14 and later)."""
    said = raw.get_settings()
    return "on" in (
        getattr(said, "in_hot_standby", "off"),
        getattr(said, "default_transaction_read_only", "off"),
    )
