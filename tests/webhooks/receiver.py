"""A receiver of webhooks: a real server on 127.0.0.1 that answers as a test asks, or misbehaves."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

#: Writes the answer to a request, or does not.
Answering = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]
    body: bytes
    #: What the client has named in the TLS handshake.
    server_name: str | None


def answer(status: int = 200, body: bytes = b"ok", **headers: str) -> Answering:
    """`headers` are written with underscores for hyphens."""

    async def write(_: Request, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    return write


async def hang(_: Request, __: asyncio.StreamWriter) -> None:
    """Take the request and say nothing."""
    await asyncio.sleep(60)


def drip(status: int = 200, pause: float = 0.05) -> Answering:
    """A body that comes a byte at a time, without an end."""

    async def write(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status} X\r\n\r\n".encode())
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(pause)

    return write


async def never_ending(_: Request, writer: asyncio.StreamWriter) -> None:
    """A body without an end, as fast as it can be read."""
    writer.write(b"HTTP/1.1 200 X\r\n\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def endless_headers(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\n")
    while True:
        writer.write(b"X-Padding: " + b"x" * 1_000 + b"\r\n")
        await writer.drain()


async def hang_up(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def nonsense(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n")


@dataclass
class Receiver:
    port: int = 0
    scheme: str = "http"
    #: For the requests to come, in their order; after them, `otherwise`.
    script: list[Answering] = field(default_factory=list)
    otherwise: Answering = field(default_factory=answer)
    requests: list[Request] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hooks"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            # It is cancelled at the end of the test; asyncio would call that an error of the server's.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                request = await _read(reader, writer)
                self.requests.append(request)
                await (self.script.pop(0) if self.script else self.otherwise)(request, writer)
                await writer.drain()
        finally:
            self.under_way -= 1
            writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (line.partition(": ") for line in head[1:] if line)
    headers = {name.lower(): value for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    ssl_object = writer.get_extra_info("ssl_object")
    name = getattr(ssl_object, "named", None)
    return Request(head[0], headers, body, name)


@asynccontextmanager
async def receiver(
    *, otherwise: Answering | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    made = Receiver(scheme="https" if tls else "http", otherwise=otherwise or answer())
    if tls is not None:
        tls.sni_callback = _note_name
    server = await asyncio.start_server(made._serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            if "Receiver._serve" in str(task.get_coro()):
                task.cancel()
        await server.wait_closed()


def _note_name(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
    connection.named = name  # type: ignore[attr-defined]
