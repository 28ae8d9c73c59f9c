"""A Service as kube-proxy makes one: it decides where a new connection goes, and nothing after that."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.helpers.relay import Streams, both_ways

#: How long the news of a pod that is not ready takes to every node.
NEWS_SECONDS: Final = 1.0
PROBE_SECONDS: Final = 0.1
PROBE: Final = "GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n"

Address = tuple[str, int]


class Balancer:
    """Sends new connections to ready instances in turn. One that is not ready any more gets none a second
    later; those that it has stay.
    """

    def __init__(self) -> None:
        self.port = 0
        self.ready: list[Address] = []
        #: Connections that found nobody listening, and those that an instance broke.
        self.refused = self.broken = 0
        self._turn = 0
        self._watching: set[asyncio.Task[None]] = set()
        self._passing: dict[asyncio.StreamWriter, asyncio.Task[Any]] = {}

    def watch(self, address: Address) -> None:
        """From now on, until it is not ready any more."""
        self._watching.add(asyncio.create_task(self._watch(address)))

    async def has(self, address: Address) -> None:
        while address not in self.ready:  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(PROBE_SECONDS)

    async def _watch(self, address: Address) -> None:
        await _until(address, ready=True)
        self.ready.append(address)
        await _until(address, ready=False)
        await asyncio.sleep(NEWS_SECONDS)
        self.ready.remove(address)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing[writer] = task
        try:
            far = await self._connected()
            if not await both_ways((reader, writer), far):
                self.broken += 1
        except (OSError, ZeroDivisionError):
            self.refused += 1
            writer.transport.abort()
        finally:
            del self._passing[writer]

    async def _connected(self) -> Streams:
        self._turn += 1
        return await asyncio.open_connection(*self.ready[self._turn % len(self.ready)])

    async def stop(self) -> None:
        for watch in self._watching:
            watch.cancel()
        passing = [*self._passing.values()]
        for writer in [*self._passing]:
            writer.transport.abort()
        await asyncio.gather(*self._watching, *passing, return_exceptions=True)


async def _until(address: Address, *, ready: bool) -> None:
    while await answers(address, "/readyz") != ready:  # noqa: ASYNC110 - what changes is elsewhere
        await asyncio.sleep(PROBE_SECONDS)


async def answers(address: Address, path: str) -> bool:
    """As a kubelet asks: on a connection of its own, and only 200 will do."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(PROBE.format(path=path).encode())
            return (await reader.read()).startswith(b"HTTP/1.1 200 ")
        finally:
            writer.close()
    return False


@asynccontextmanager
async def balanced() -> AsyncIterator[Balancer]:
    """One that listens on a port of its own."""
    balancer = Balancer()
    async with await asyncio.start_server(balancer.accept, "127.0.0.1", 0) as server:
        balancer.port = server.sockets[0].getsockname()[1]
        try:
            yield balancer
        finally:
            await balancer.stop()
