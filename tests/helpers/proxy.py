"""A network that can be broken: a TCP proxy before PostgreSQL, in a thread of its own."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

BLOCK = 65_536
#: PostgreSQL's ReadyForQuery, without the byte that says whether there is a transaction.
READY = b"Z\x00\x00\x00\x05"


class Proxy:
    """Forwards until it is told to `hang` (nothing passes or is closed) or to `cut` (all is closed)."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._refuses = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._spoilt: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0
        #: How often PostgreSQL has been ready for the next question: once a round trip.
        self.round_trips = 0

    def hang(self) -> None:
        self._loop.call_soon_threadsafe(self._flows.clear)

    def cut(self) -> None:
        self._loop.call_soon_threadsafe(self._cut)

    def spoil(self) -> None:
        """Close each connection that is there as soon as anything is sent over it; new ones are good."""
        self._loop.call_soon_threadsafe(lambda: self._spoilt.update(self._writers))

    def resume(self) -> None:
        self._refuses = False
        self._loop.call_soon_threadsafe(self._flows.set)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def reset(self) -> None:
        """Close what is there; new connections are good."""
        self._loop.call_soon_threadsafe(self._abort)

    def reset_one(self, chance: random.Random) -> None:
        """Close one of those that are there with a reset, as a firewall does that knows it no more."""

        def reset() -> None:
            if self._writers:
                writer = chance.choice(sorted(self._writers, key=id))
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()

        self._loop.call_soon_threadsafe(reset)

    def _cut(self) -> None:
        self._refuses = True
        self._abort()

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._flows.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self._cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        await self._flows.wait()
        try:
            back_reader, back_writer = await asyncio.open_connection(*self._target)
        except OSError:
            # Where nothing listens a client is refused, too.
            writer.transport.abort()
            return
        both = {writer, back_writer}
        self._writers |= both
        try:
            await asyncio.gather(
                self._pass(reader, back_writer), self._pass(back_reader, writer, counts=True)
            )
        finally:
            self._writers -= both
            for each in both:
                each.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool = False
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while block := await reader.read(BLOCK):
                await self._flows.wait()
                self.round_trips += block.count(READY) if counts else 0
                if writer in self._spoilt:
                    writer.transport.abort()
                    return
                writer.write(block)
                await writer.drain()
        # After a reset too: the other side would wait for what does not come.
        writer.close()


@contextmanager
def proxy_before(url: str) -> Iterator[tuple[Proxy, str]]:
    """The proxy, and the URL by which it leads to the same database."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    proxy = Proxy(parts.hostname, parts.port)
    proxy.start()
    netloc = parts.netloc.rpartition("@")[0] + f"@127.0.0.1:{proxy.port}"
    try:
        yield proxy, urlunsplit(parts._replace(netloc=netloc))
    finally:
        proxy.stop()
