"""Exports that run in this process: what they may take, and what ends them.

An export reads its rows batch by batch in one snapshot, on a connection of a pool of its own, and no batch
before the client has taken the one before. It can be ended at any moment: a client goes on after its last
whole row, from a newer snapshot.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import structlog

from service import audit
from service.errors import Forbidden, Overloaded, ServiceError, Unauthenticated, Unavailable, Unprocessable
from service.exports import metrics, repository
from service.exports.repository import ROWS, Format, Of, Rows
from service.identity import AnyCaller, reauthorize
from service.platform.config import Settings
from service.platform.database import Database, Session
from service.platform.http.sse import LAST_SECONDS

log = structlog.get_logger(__name__)

#: Rows that are read, and held, at a time; no more until the client has taken them.
BATCH: Final = 200
#: For PostgreSQL to write a batch: of rows that nobody has read for long, each may be on another page of a
#: slow disk.
BATCH_SECONDS: Final = 30.0
#: How long a client may take to accept a batch. The transaction is idle meanwhile.
STALLED_SECONDS: Final = 30.0
IDLE_SECONDS: Final = 60.0
#: For one snapshot: as long as it lasts, PostgreSQL keeps every version of every row that is deleted.
LONGEST_SECONDS: Final = 3_600.0
#: How often it is asked whether the caller's access goes on.
CONFIRM_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 10
TIME_ZONE: Final = "Send a name of the IANA time zone database, such as Europe/Berlin."

Ending = Literal["whole", "left", "stalled", "stopping", "access_ended", "too_long", "failed"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for. `until` is the last id; `confirm` raises what ends the caller's access."""

    of: Of
    format: Format
    caller: AnyCaller
    confirm: Callable[[], Awaitable[None]]
    after: int
    until: int
    time_zone: str


class Export:
    """One of them, the source of its response (platform/http/download.py)."""

    #: The last id that it has, and the time of its snapshot. They are there once it has begun.
    until: int
    at: datetime

    def __init__(self, exports: "Exports", wish: Wish) -> None:
        self._exports, self.wish = exports, wish
        self._pieces = self._read()
        self._patience: asyncio.Timeout | None = None
        self.ended: Ending | None = None
        self.rows = 0

    async def begin(self) -> None:
        """Take the snapshot. Raises Unavailable."""
        await anext(self._pieces)

    async def next(self) -> bytes | None:
        try:
            return await anext(self._pieces, None)
        except (Unauthenticated, Forbidden):
            self.end("access_ended")
        except ServiceError:
            self.end("failed")
        return None

    @asynccontextmanager
    async def patience(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._exports.stalled_seconds) as self._patience:
                yield
        finally:
            self._patience = None

    def end(self, reason: Ending) -> None:
        """With the batch that is being read. The client has LAST_SECONDS to accept what was sent before."""
        if self.ended is None:
            self.ended = reason
            if self._patience is not None:
                self._patience.reschedule(asyncio.get_running_loop().time() + LAST_SECONDS)

    async def close(self) -> None:
        """Give the connection back."""
        try:
            await self._pieces.aclose()
        finally:
            self.end("failed")
            self._exports.remove(self)

    async def _read(self) -> AsyncGenerator[bytes, None]:
        wish, loop = self.wish, asyncio.get_running_loop()
        rows, last = ROWS[wish.of, wish.format], wish.after
        began = confirmed = loop.time()
        async with self._exports.database.snapshot(idle=IDLE_SECONDS) as session:
            self.until, self.at = await _bounds(session, rows, wish)
            yield b""
            piece = b"" if last else rows.first
            values = {"until": self.until, "count": BATCH, "time_zone": wish.time_zone}
            while last < self.until:
                if (now := loop.time()) - confirmed >= CONFIRM_SECONDS:
                    await wish.confirm()
                    confirmed = now
                if now - began > self._exports.longest_seconds:
                    self.end("too_long")
                if self.ended is not None:
                    return
                found = await repository.read(session, rows, values | {"after": last})
                last = found[-1]["id"] if found else self.until
                self.rows += len(found)
                yield piece + b"".join([each["document"] for each in found])
                piece = b""
            if piece:
                yield piece
        self.end("whole")


class Exports:
    """All of this process."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.most = settings.export_connections
        # Nobody waits for a connection: an export that gets none is refused.
        own = {
            "database_pool_size": 0,
            "database_max_overflow": self.most,
            "database_statement_timeout": BATCH_SECONDS,
        }
        self.database = Database(url, settings.model_copy(update=own))
        self.stalled_seconds, self.longest_seconds = STALLED_SECONDS, LONGEST_SECONDS
        self._running: set[Export] = set()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._running)

    async def open(self, database: Database, wish: Wish) -> Export:
        """An export that has begun; the caller closes it. What it is asked for is in the audit log.

        Raises Overloaded while there are as many as may be, and Unavailable.
        """
        if self._stopping:
            raise Unavailable("The service is shutting down. Try again.")
        if len(self._running) >= self.most:
            detail = "As many exports are running as may run. Try again when one has ended."
            raise Overloaded(detail, retry_after=RETRY_SECONDS)
        export = Export(self, wish)
        self._running.add(export)
        metrics.export_begun(wish.of)
        try:
            await export.begin()
            async with database.transaction() as session:
                await reauthorize(session, wish.caller)
                data = {"of": wish.of, "format": wish.format, "after": wish.after, "until": export.until}
                await audit.record(session, "export.started", by=wish.caller, data=data)
        except BaseException:
            await export.close()
            raise
        return export

    def remove(self, export: Export) -> None:
        wish = export.wish
        if export in self._running:
            self._running.remove(export)
            metrics.export_ended(wish.of, export.ended or "failed", export.rows)
            log.info("export.ended", of=wish.of, format=wish.format, reason=export.ended, rows=export.rows)

    def end_all(self) -> None:
        """The process stops: what runs ends, and nothing new begins."""
        self._stopping = True
        for each in self._running:
            each.end("stopping")

    def start(self) -> None:
        self._stopping = False

    async def stop(self) -> None:
        self.end_all()
        await self.database.close()


async def _bounds(session: Session, rows: Rows, wish: Wish) -> tuple[int, datetime]:
    """The last id, and the time of the snapshot. Raises Unprocessable."""
    found = await repository.begin(session, rows, until=wish.until, time_zone=wish.time_zone)
    if found is None:
        # PostgreSQL has a database of its own, which may lack what this machine's has.
        raise Unprocessable.at("?time_zone", TIME_ZONE, "unknown_time_zone")
    return found
