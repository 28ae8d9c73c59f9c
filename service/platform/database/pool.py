"""The connections of a process: the last one used is used next, so that a quiet process needs few.

asyncpg has a pool too. It puts a proxy around each connection and resets it when it comes back, which costs
as much as a plain read; here nothing that a session sets outlives its transaction.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from service.errors import Overloaded
from service.platform.database import metrics

#: A connection that is older is replaced: servers behind a balancer, and certificates, change.
RECYCLE_SECONDS: Final = 1_800.0
CLOSE_SECONDS: Final = 2.0

Connect = Callable[[], Awaitable[asyncpg.Connection]]


class Pool:
    """At most `size` connections are kept, and `overflow` more are made while all of them are in use."""

    def __init__(self, connect: Connect, *, size: int, overflow: int, timeout: float) -> None:
        self._connect, self._size, self._timeout = connect, size, timeout
        self.most: Final = size + overflow
        self._idle: list[asyncpg.Connection] = []
        #: Every connection, and when it was made.
        self._made: dict[asyncpg.Connection, float] = {}
        self._being_made = 0
        #: Each is given a connection, or None when it may make one.
        self._waiting: deque[asyncio.Future[asyncpg.Connection | None]] = deque()
        self._closing: set[asyncio.Task[None]] = set()
        self._good_since = 0.0
        self._closed = False

    @property
    def in_use(self) -> int:
        return len(self._made) + self._being_made - len(self._idle)

    async def acquire(self) -> asyncpg.Connection:
        """A connection, which `release` or `discard` must get back.

        Raises Overloaded when none is free within the time-out, and what the driver raises when none can be
        made.
        """
        began = time.perf_counter()
        try:
            while self._idle:
                connection = self._idle.pop()
                if self._is_good(connection):
                    return connection
                self.discard(connection)
            found = None if len(self._made) + self._being_made < self.most else await self._wait()
        finally:
            metrics.WAIT.observe(time.perf_counter() - began)
        return found or await self._make()

    def release(self, connection: asyncpg.Connection) -> None:
        if not self._is_good(connection):
            self.discard(connection)
        elif not self._hand_on(connection):
            self._idle.append(connection)
            # Those at the bottom are not used, and would grow old.
            while len(self._idle) > self._size or not self._is_good(self._idle[0]):
                self._end(self._idle.pop(0))

    def discard(self, connection: asyncpg.Connection) -> None:
        """Cut it off: it is lost, or in a state that is not known."""
        connection.terminate()
        if self._made.pop(connection, None) is not None:
            self._hand_on(None)

    def cut(self, connection: asyncpg.Connection) -> None:
        """Close it while a statement may be running: the server is asked to cancel that, and would go on
        otherwise, with its locks. Until it is closed it keeps its place, or a server could run out of them.
        """
        if connection.is_closed():
            self.discard(connection)
            return
        task = asyncio.create_task(self._close(connection))
        self._closing.add(task)

        def end(task: asyncio.Task[None]) -> None:
            self._closing.discard(task)
            self.discard(connection)

        task.add_done_callback(end)

    def expire(self) -> None:
        """What was made until now is not used again, such as after the server has been demoted."""
        self._good_since = time.monotonic()

    async def close(self) -> None:
        """Close those that are idle, and those in use when they come back."""
        self._closed = True
        for connection in self._idle:
            self._end(connection)
        self._idle.clear()
        await asyncio.gather(*self._closing)

    def _is_good(self, connection: asyncpg.Connection) -> bool:
        made = self._made[connection]
        young = made > self._good_since and time.monotonic() - made < RECYCLE_SECONDS
        return young and not self._closed and not connection.is_closed()

    def _hand_on(self, connection: asyncpg.Connection | None) -> bool:
        """To the first that waits; False when there is none."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                if connection is None:
                    # Counted at once, or another would take its place before it runs.
                    self._being_made += 1
                waiting.set_result(connection)
                return True
        return False

    async def _wait(self) -> asyncpg.Connection | None:
        turn: asyncio.Future[asyncpg.Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._timeout):
                found = await turn
        except BaseException as fault:
            self._give_up(turn)
            if isinstance(fault, TimeoutError):
                raise Overloaded("Every database connection is in use. Try again shortly.") from None
            raise
        if found is None:
            self._being_made -= 1
        return found

    def _give_up(self, turn: "asyncio.Future[asyncpg.Connection | None]") -> None:
        """Its turn may have come at the same moment."""
        if turn.cancel() or turn.cancelled():
            return
        found = turn.result()
        if found is not None:
            self.release(found)
        else:
            self._being_made -= 1
            self._hand_on(None)

    async def _make(self) -> asyncpg.Connection:
        self._being_made += 1
        # From before it leads anywhere: what it leads to may be demoted meanwhile.
        began = time.monotonic()
        try:
            connection = await self._connect()
        except BaseException:
            self._being_made -= 1
            self._hand_on(None)
            raise
        self._being_made -= 1
        self._made[connection] = began
        return connection

    def _end(self, connection: asyncpg.Connection) -> None:
        """Close an idle one. It takes no place from now on."""
        self._made.pop(connection, None)
        self.cut(connection)

    @staticmethod
    async def _close(connection: asyncpg.Connection) -> None:
        """In good order, so that the server logs no lost connection."""
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await connection.close(timeout=CLOSE_SECONDS)
