"""The change feed: every process hears, at COMMIT, of what others have changed.

Triggers NOTIFY one channel; each process LISTENs on a connection of its own and hands what it hears to
its readers. A lease says how long what they hold may be believed: it is renewed by a query over that
same connection, and since PostgreSQL delivers notifications in the order of commits and before the
answer to a later query, everything committed before the query was asked has been heard when it is
answered. When the connection is closed or silent the lease lapses, and the database has to be asked.

Between a COMMIT and the word of it there is a moment. What the processes of one master have committed
themselves, all of them have heard before they believe what they hold (`catch_up`): who has got an answer
here and asks again gets nothing older. What others commit is heard as soon as PostgreSQL tells it.

That holds for a connection that really hears. Behind a pooler that hands connections around, queries are
answered and notifications lost: so the first lease is only given for a word of one's own that has come
back, sent on the way that changes take.
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
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool

from service.errors import ReadOnly, ServiceError
from service.platform.database import connections

log = structlog.get_logger(__name__)

CHANNEL: Final = "tradepost_changes"
#: How often the lease is renewed, and how long it lasts from when its query was asked: an answer given
#: under it is never staler than that, and a renewal may be two thirds late.
RENEW_SECONDS: Final = 0.3
LEASE_SECONDS: Final = 0.9
CONNECT_SECONDS: Final = 3.0
LONGEST_PAUSE_SECONDS: Final = 2.0
#: How long a process waits with its first request for what would spare that a question to the database.
START_SECONDS: Final = 1.0

#: A byte for each that listens: 1 when something was committed since it last asked. It is inherited
#: by what is forked after the import, so that the workers of one master share it. Whoever has committed
#: sets all of them; each clears its own before it asks: so none is missed, whatever comes in between.
PROCESSES: Final = 4096
_behind: Final = mmap.mmap(-1, PROCESSES)
_ALL_BEHIND: Final = b"\1" * PROCESSES
_feeds: Final = itertools.count()
_worker: int | None = None

Change = dict[str, Any]
#: Sends a text to everybody who listens on a channel, by the same database that changes are written to.
Announce = Callable[[str, str], Awaitable[None]]


def take_place(number: int) -> None:
    """Before the fork: which of its workers the master makes, counted from its start. No two that live at
    the same time have the same byte then, as process ids might.
    """
    global _worker  # noqa: PLW0603 - it is the child's, who inherits it
    _worker = number


def committed() -> None:
    """Say that a transaction has been committed, or may have been."""
    _behind[:] = _ALL_BEHIND


class Deaf(Exception):
    """The connection is there and does not hear, or something that was heard could not be read."""


@dataclass(frozen=True)
class Reader:
    """Who wants to know. `load` reads what holds now, after listening has begun, so that nothing falls
    between; `changed` is given each change, with `of` naming what it is a change of.
    """

    load: Callable[[], Awaitable[None]]
    changed: Callable[[Change], None]


class ChangeFeed:
    def __init__(self, url: str, readers: tuple[Reader, ...], announce: Announce) -> None:
        self._engine = connections.engine(
            url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "timeout": CONNECT_SECONDS,
                "command_timeout": LEASE_SECONDS,
                "server_settings": {"application_name": "tradepost changes"},
            },
        )
        self._readers, self._announce = readers, announce
        self._lease_ends = 0.0
        self.renew_seconds = RENEW_SECONDS
        self._missed = False
        self._word, self._word_heard = "", asyncio.Event()
        #: Asking now, for what was committed before; wanted before its time; and the end of each round.
        self._asking, self._wanted, self._asked = False, asyncio.Event(), asyncio.Event()
        self._place = ((os.getpid() if _worker is None else _worker) + next(_feeds)) % PROCESSES
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def current(self) -> bool:
        """Whether what the readers hold is less than LEASE_SECONDS behind the database."""
        return time.monotonic() < self._lease_ends

    @property
    def caught_up(self) -> bool:
        """Whether it is current, and nothing was committed here that may not have been heard yet."""
        return not self._asking and not _behind[self._place] and self.current

    async def catch_up(self) -> bool:
        """Hear all that was committed here before this call. False when it cannot be had."""
        for _ in range(2):  # a round that is under way may have begun too early
            if self.caught_up or not self.current:
                break
            self._wanted.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEASE_SECONDS):
                    await self._asked.wait()
        return self.current

    async def start(self) -> None:
        """Begin to listen, and wait for the first attempt, but not for long: a database that is down or
        silent keeps nobody from starting.
        """
        self._task = asyncio.create_task(self._run(), name="change feed")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await self._tried.wait()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._engine.dispose()

    async def _run(self) -> None:
        pause = 0.05
        while True:
            began = time.monotonic()
            try:
                await self._listen()
            except (
                SQLAlchemyError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                OSError,
                ServiceError,
            ) as fault:
                cause = connections.cause_of(fault)
                log.warning("changes.connection_lost", fault=type(fault).__name__, cause=cause)
            except Deaf as fault:
                log.error("changes.not_heard", fault=str(fault))  # noqa: TRY400 - there is no more to tell
            except Exception:
                # Whatever it is: without this task the feed would be lost until the process ends.
                log.exception("changes.failed")
            finally:
                self._lease_ends = 0.0
                self._tried.set()
                self._answer()
            pause = 0.05 if time.monotonic() - began > LONGEST_PAUSE_SECONDS else pause * 2
            pause = min(pause, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads reconnections

    async def _listen(self) -> None:
        connection = await self._engine.connect()
        raw = await _driver(connection)
        self._missed = False
        try:
            await raw.add_listener(CHANNEL, self._heard)
            await self._hear_oneself()
            for reader in self._readers:
                await reader.load()
            log.info("changes.subscribed")
            while True:
                await self._renew(raw)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.renew_seconds):
                        await self._wanted.wait()
                self._wanted.clear()
        finally:
            # A connection that has gone silent would never answer a polite goodbye.
            raw.terminate()
            with contextlib.suppress(SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await connection.invalidate()
                await connection.close()

    async def _renew(self, raw: asyncpg.Connection) -> None:
        began, self._asking = time.monotonic(), bool(_behind[self._place])
        _behind[self._place] = 0
        await raw.execute("SELECT 1")
        if is_read_only(raw):
            # A primary that has been demoted hears nothing of what the new one is told.
            raise ReadOnly
        if self._missed:
            raise Deaf("A notification could not be read: what is held is read anew.")
        self._lease_ends = began + LEASE_SECONDS
        self._tried.set()
        self._answer()

    def _answer(self) -> None:
        self._asking = False
        self._asked.set()
        self._asked = asyncio.Event()

    async def _hear_oneself(self) -> None:
        self._word, self._word_heard = secrets.token_hex(8), asyncio.Event()
        await self._announce(CHANNEL, json.dumps({"of": "feed", "word": self._word}))
        try:
            async with asyncio.timeout(LEASE_SECONDS):
                await self._word_heard.wait()
        except TimeoutError:
            raise Deaf("DATABASE_DIRECT_URL must lead to the same database, past any pooler.") from None

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        try:
            change = json.loads(str(payload))
            if change["of"] == "feed":
                if change["word"] == self._word:
                    self._word_heard.set()
                return
            for reader in self._readers:
                reader.changed(change)
        except Exception:
            # It may have been what somebody's access ends with: nothing is believed until all is read anew.
            log.exception("changes.misread")
            self._missed, self._lease_ends = True, 0.0


async def _driver(connection: AsyncConnection) -> asyncpg.Connection:
    driver: asyncpg.Connection | None = (await connection.get_raw_connection()).driver_connection
    assert driver is not None  # noqa: S101 - it has just been connected
    return driver


def is_read_only(raw: asyncpg.Connection) -> bool:
    """As the server has said by itself when it last answered (PostgreSQL 14 and later)."""
    said = raw.get_settings()
    return "on" in (
        getattr(said, "in_hot_standby", "off"),
        getattr(said, "default_transaction_read_only", "off"),
    )
