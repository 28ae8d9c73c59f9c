"""Connections that send what no library would."""

import asyncio
import socket
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

#: For a response to come.
PATIENCE_SECONDS: Final = 60.0
CLOSED: Final = "closed"
OPEN: Final = "open"


@dataclass
class Attempts:
    """The outcome of each attempt: a status, "closed" without a response, or "open" to the end."""

    answers: Counter[str] = field(default_factory=Counter)
    #: Requests in all attempts, which are logged once each; as many as attempts unless it is said.
    requests: int | None = None

    @property
    def count(self) -> int:
        return self.answers.total()

    @property
    def lines(self) -> int:
        """How many lines of the log they may write."""
        return self.count if self.requests is None else self.requests

    @property
    def described(self) -> str:
        return ", ".join(f"{answer} {count:,}" for answer, count in sorted(self.answers.items()))


@dataclass
class Raw:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, port: int, *, ahead: int | None = None) -> "Raw":
        """`ahead`: how much the kernel takes before it is read."""
        connection = socket.socket()
        connection.setblocking(False)
        if ahead is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ahead)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=connection, limit=ahead or 65_536)
        return cls(reader, writer)

    async def send(self, pieces: Iterable[bytes]) -> None:
        """All of them, or as many as are taken before the other side ends the connection."""
        with suppress(ConnectionError):
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()

    async def status(self, within: float = PATIENCE_SECONDS) -> str:
        """Of the next response; its body is read too where it says how long that is."""
        try:
            async with asyncio.timeout(within):
                head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
                await self.reader.readexactly(int(length or 0))
                return head.split()[1].decode()
        except TimeoutError:
            return OPEN
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return CLOSED

    def close(self) -> None:
        self.writer.transport.abort()


async def exchange(port: int, pieces: Iterable[bytes]) -> str:
    """Send these on a new connection; the status of the response, which may come before all is sent."""
    connection = await Raw.open(port)
    sending = asyncio.create_task(connection.send(pieces))
    try:
        return await connection.status()
    finally:
        # What is still to be sent is sent for a while, if it is read.
        await asyncio.wait((sending,), timeout=PATIENCE_SECONDS)
        sending.cancel()
        connection.close()


async def dripped(port: int, head: bytes, count: int, seconds: float) -> Attempts:
    """So many connections that send this, and then a byte each second until the time is over."""
    found = [await Raw.open(port) for _ in range(count)]
    answers: Counter[str] = Counter()

    async def drip(connection: Raw) -> None:
        await connection.send([head])
        waiting = asyncio.create_task(connection.status(seconds))
        while not waiting.done():
            await asyncio.wait((waiting,), timeout=1)
            if not waiting.done():
                await connection.send([b"a"])
        answers[waiting.result()] += 1

    await asyncio.gather(*(drip(each) for each in found))
    for each in found:
        each.close()
    return Attempts(answers)
