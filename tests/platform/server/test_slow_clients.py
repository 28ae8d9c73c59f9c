"""Clients that send or read slowly, or much at once, hold neither the places of others nor much memory."""

import asyncio
import gc
import socket
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Overloaded
from service.platform.http import overload
from service.platform.http.overload import BodyLimit, LoadShedding
from service.platform.server.http1 import flow, holding
from service.platform.server.http1.exchange import Exchange
from tests.helpers.streaming import PATIENCE_SECONDS, served
from tests.helpers.waiting import eventually

GET = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 10\r\n\r\n"
PLACES = overload.REQUESTS_PER_CONNECTION
#: More than the kernel's buffers of a connection take.
LARGE = b"x" * 16 * 1024 * 1024


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Gives back the body; for GET something large."""
    try:
        body = await Request(scope, receive).body()
    except Overloaded as refused:
        await PlainTextResponse(refused.code, 503, refused.headers)(scope, receive, send)
        return
    await PlainTextResponse(LARGE if scope["method"] == "GET" else body)(scope, receive, send)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, bytes]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return int(head.split()[1]), await self.reader.readexactly(length)

    async def rest(self) -> int:
        """How many bytes come until the connection ends, however it ends."""
        size = 0
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                while piece := await self.reader.read(1 << 20):
                    size += len(piece)
            except ConnectionError:
                pass
        return size


class Server:
    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2])
        self._clients: list[Client] = []

    async def client(self, sent: bytes = b"", *, ahead: int = 4096) -> Client:
        """One that has sent this, and reads no more than so much ahead."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ahead)
        connection.connect(("127.0.0.1", self._port))
        found = Client(*await asyncio.open_connection(sock=connection, limit=4096))
        found.writer.write(sent)
        self._clients.append(found)
        return found

    def close(self) -> None:
        for client in self._clients:
            client.writer.transport.abort()


@asynccontextmanager
async def server(application: ASGIApp, *, keep_alive: int = 60) -> AsyncIterator[Server]:
    async with served(application, keep_alive=keep_alive) as url:
        found = Server(url)
        try:
            yield found
        finally:
            found.close()


@asynccontextmanager
async def small_server() -> AsyncIterator[tuple[Server, LoadShedding, BodyLimit]]:
    """It takes on 16 requests at once."""
    bodies = BodyLimit(app, limit=1024)
    shedding = LoadShedding(bodies, connections=1)
    async with server(shedding) as found:
        yield found, shedding, bodies


class TestPlaces:
    async def test_bodies_that_are_still_coming_hold_none(self) -> None:
        """Sixteen for each connection to the database were enough to have every other request refused."""
        async with small_server() as (found, shedding, bodies):
            slow = [await found.client(POST + b"12345") for _ in range(3 * PLACES)]
            await eventually(lambda: len(bodies.coming) == 3 * PLACES)
            assert shedding.running == 0
            good = await found.client(POST + b"0123456789")
            assert await good.answer() == (200, b"0123456789")
            for client in slow:
                client.writer.write(b"67890")
            assert [await client.answer() for client in slow] == [(200, b"1234567890")] * len(slow)
            assert (shedding.running, len(bodies.coming)) == (0, 0)

    async def test_a_body_that_has_come_needs_one_again(self) -> None:
        async with small_server() as (found, shedding, bodies):
            slow = await found.client(POST + b"12345")
            await eventually(lambda: len(bodies.coming) == 1)
            shedding.load.running += PLACES
            slow.writer.write(b"67890")
            assert await slow.answer() == (503, b"overloaded")
            shedding.load.running -= PLACES
            slow.writer.write(POST + b"1234567890")
            assert await slow.answer() == (200, b"1234567890")
            assert shedding.running == 0

    async def test_of_too_many_bodies_the_one_that_takes_longest_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Even where it has sent something meanwhile."""
        monkeypatch.setattr(overload, "MOST_COMING", 3)
        async with small_server() as (found, _, bodies):
            slow = []
            for number in range(4):
                slow.append(await found.client(POST + b"1"))
                await eventually(lambda: len(bodies.coming) == min(number + 1, 3))  # noqa: B023
                slow[0].writer.write(b"2")
            assert await slow[0].answer() == (503, b"overloaded")
            good = await found.client(POST + b"0123456789")
            assert await good.answer() == (200, b"0123456789")
            assert await slow[1].answer() == (503, b"overloaded")
            for client in slow[2:]:
                client.writer.write(b"234567890")
                assert await client.answer() == (200, b"1234567890")

    async def test_clients_that_read_nothing_hold_none(self) -> None:
        async with small_server() as (found, shedding, _):
            for _ in range(2 * PLACES):
                await found.client(2 * GET)
            good = await found.client(POST + b"0123456789")
            assert await good.answer() == (200, b"0123456789")
            assert shedding.running == 0


class TestReadingNothing:
    @pytest.fixture(autouse=True)
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(flow, "TAKE_SECONDS", 0.1)
        monkeypatch.setattr(flow, "SLOWEST_BYTES_A_SECOND", 1 << 30)

    @pytest.mark.parametrize("sent", [GET, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")])
    async def test_ends_the_connection(self, sent: bytes) -> None:
        """It was kept for ever, with the response in memory."""
        async with server(app) as found:
            client = await found.client(sent)
            await asyncio.sleep(1)
            assert await client.rest() < len(LARGE)

    def test_leaves_one_copy_of_a_body_in_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Clients who asked for the OpenAPI document each kept one of their own."""
        monkeypatch.setattr(flow, "TAKE_SECONDS", PATIENCE_SECONDS)

        async def kept() -> int:
            async with server(app) as found:
                tracemalloc.start()
                for _ in range(8):
                    # Its head, and not much more.
                    await (await found.client(GET)).reader.readuntil(b"\r\n\r\n")
                size, _ = tracemalloc.get_traced_memory()
                return size

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                assert runner.run(kept()) < len(LARGE)
        finally:
            tracemalloc.stop()

    async def test_reading_in_time_gets_everything(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On the same connection, as often as it likes."""
        monkeypatch.setattr(flow, "TAKE_SECONDS", PATIENCE_SECONDS)
        async with server(app) as found:
            client = await found.client(ahead=len(LARGE))
            for _ in range(3):
                client.writer.write(GET)
                assert await client.answer() == (200, LARGE)
                await asyncio.sleep(0.2)


class TestLeaving:
    async def test_while_a_response_waits_is_no_error(self, caplog: pytest.LogCaptureFixture) -> None:
        """Of a client that has sent another request ahead, the running one did not learn that it had left."""
        ended = asyncio.Event()

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, send)
            assert (await receive())["type"] == "http.disconnect"
            ended.set()

        async with server(watched) as found:
            client = await found.client(4 * GET)
            await asyncio.sleep(0.5)
            client.writer.transport.abort()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await ended.wait()
        assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []

    async def test_ends_what_waits_for_it(self) -> None:
        """Such as a stream, behind which another request was sent."""
        waiting, left = asyncio.Event(), asyncio.Event()

        async def stream(_: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await receive()
            waiting.set()
            assert (await receive())["type"] == "http.disconnect"
            left.set()

        async with server(stream) as found:
            client = await found.client(2 * GET)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await waiting.wait()
                client.writer.transport.abort()
                await left.wait()


class TestMuchAtOnce:
    async def test_requests_that_are_sent_ahead_wait_as_bytes(self) -> None:
        """Each that is parsed takes 3 KB."""
        running, go_on, paths = asyncio.Event(), asyncio.Event(), []

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            paths.append(scope["path"])
            running.set()
            await go_on.wait()
            await PlainTextResponse("ok")(scope, receive, send)

        def parsed() -> int:
            return sum(isinstance(each, Exchange) for each in gc.get_objects())

        count = 5_000
        async with server(slow) as found:
            at_first = parsed()
            requests = [b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(count)]
            client = await found.client(b"".join(requests))
            await running.wait()
            await asyncio.sleep(0.2)
            assert parsed() - at_first <= holding.PIECE_BYTES // 27 + 1
            go_on.set()
            for _ in range(count):
                assert await client.answer() == (200, b"ok")
            assert paths == [f"/{number}" for number in range(count)]
            client.writer.write(GET)
            assert await client.answer() == (200, b"ok")

    async def test_bodies_that_are_sent_ahead_arrive(self) -> None:
        async with server(BodyLimit(app, limit=1 << 20)) as found:
            bodies = [bytes([65 + number]) * 100_000 for number in range(20)]
            head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
            client = await found.client(b"".join(head + body for body in bodies))
            assert [await client.answer() for _ in bodies] == [(200, body) for body in bodies]
