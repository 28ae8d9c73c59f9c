"""A TCP port that leads to a server, or behaves as one that fails."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal, Self

from tests.server.process import free_port

#: `gone`: connections are refused. `hanging`: they are accepted, and nothing comes. `slow`: each block comes
#: DELAY_SECONDS late. `rubbish`: whatever is asked is answered with bytes of no protocol.
Mode = Literal["well", "gone", "hanging", "slow", "rubbish"]

DELAY_SECONDS: Final = 1.0
BLOCK: Final = 65_536
RUBBISH: Final = b"\x00\xff<html>!\r\n" * 8


class Gate:
    """Listens on a port of its own that stays the same."""

    def __init__(self, host: str, port: int) -> None:
        self.port = free_port()
        self.mode: Mode = "well"
        #: Connections that were accepted while it was not well.
        self.misled = 0
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def before(cls, port: int, host: str = "127.0.0.1") -> AsyncIterator[Self]:
        gate = cls(host, port)
        await gate._listen()
        try:
            yield gate
        finally:
            await gate.set("gone")

    async def set(self, mode: Mode) -> None:
        """Connections that were made before stay, but where it is `gone`, `rubbish`, or `well` again."""
        if mode in ("gone", "rubbish", "well") and mode != self.mode:
            await self._end_connections()
        self.mode = mode
        self._changed.set()
        self._changed = asyncio.Event()
        if mode == "gone":
            await self._close()
        elif self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _end_connections(self) -> None:
        running = [*self._running]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self.misled += self.mode != "well"
        try:
            with contextlib.suppress(OSError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # this connection is over, as all are
        finally:
            self._running.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "rubbish":
            await reader.read(BLOCK)
            writer.write(RUBBISH)
            await writer.drain()
            return
        while self.mode == "hanging":
            await self._changed.wait()
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, far_writer))
                both.create_task(self._pass(far_reader, writer))
        except* OSError:
            pass
        finally:
            far_writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(BLOCK):
            while self.mode == "hanging":
                await self._changed.wait()
            if self.mode == "slow":
                await asyncio.sleep(DELAY_SECONDS)
            writer.write(block)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
