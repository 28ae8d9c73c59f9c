"""The head of a request is bounded in size and time, whatever a client sends, and refused as all else is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import httpx2
import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.platform.http.addresses import Hosts, Proxies
from service.platform.http.context import ErrorMiddleware, RequestContext
from service.platform.http.cors import Cors
from service.platform.server.http1 import head as heads
from service.platform.server.http1 import protocol
from service.platform.server.http1.head import MAX_HEAD_BYTES, MAX_HEADERS, MAX_TARGET_BYTES
from tests.helpers.client import assert_problem
from tests.helpers.streaming import PATIENCE_SECONDS, served

GET = b"GET / HTTP/1.1\r\nHost: shop.example\r\n"
SHOP = "https://shop.example"
#: Far more than is accepted: who gets so far has been refused by nobody.
ENDLESS = 32 * MAX_HEAD_BYTES


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Says how many bytes of headers have come."""
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    await PlainTextResponse(str(size))(scope, receive, send)


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _rest: asyncio.Task[bytes] | None = None

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_for_ever(self, piece: bytes) -> None:
        """Until the server closes the connection or answers."""
        self._rest = asyncio.create_task(self._read())
        sent = 0
        while not self._rest.done():
            assert sent < ENDLESS
            sent += len(piece)
            with suppress(ConnectionError):
                await self.send(piece)
            await asyncio.sleep(0)

    async def rest(self) -> bytes:
        """All that comes until the other side closes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await (self._rest or self._read())

    async def _read(self) -> bytes:
        read = bytearray()
        with suppress(ConnectionError):
            while piece := await self.reader.read(1024):
                read += piece
        return bytes(read)

    async def refusal(self) -> httpx2.Response:
        head, _, body = (await self.rest()).partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        answer = httpx2.Response(int(first.split()[1]), headers=headers, content=body)
        assert answer.headers["connection"] == "close"
        assert answer.headers["x-content-type-options"] == "nosniff"
        return answer

    async def answer(self) -> bytes:
        """The body of one that keeps the connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
            return await self.reader.readexactly(int(length.partition(b" ")[2]))


@asynccontextmanager
async def connected(application: ASGIApp = app, *, keep_alive: int = 60) -> AsyncIterator[Connection]:
    cors = Cors(ErrorMiddleware(application), origins=(SHOP,), credentials=False)
    edge = RequestContext(cors, proxies=Proxies(()), hosts=Hosts())
    async with served(edge, keep_alive=keep_alive) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        try:
            yield Connection(reader, writer)
        finally:
            writer.transport.abort()


def head(size: int) -> bytes:
    """Of a request with so many bytes of headers, names and values."""
    rest = size - len("Hostshop.example") - len("X")
    return GET + b"X: " + b"y" * rest + b"\r\n\r\n"


def target(size: int) -> bytes:
    return b"GET /" + b"y" * (size - 1) + b" HTTP/1.1\r\nHost: shop.example\r\n\r\n"


class TestSize:
    async def test_up_to_the_limits(self) -> None:
        async with connected() as connection:
            for _ in range(2):
                await connection.send(head(MAX_HEAD_BYTES))
                assert await connection.answer() == str(MAX_HEAD_BYTES).encode()
                await connection.send(target(MAX_TARGET_BYTES))
                assert await connection.answer() == b"16"
                await connection.send(GET + b"X: y\r\n" * (MAX_HEADERS - 1) + b"\r\n")
                assert await connection.answer() == str(16 + 2 * (MAX_HEADERS - 1)).encode()

    @pytest.mark.parametrize(
        ("request_", "status", "code"),
        [
            (head(MAX_HEAD_BYTES + 1), 431, "headers_too_large"),
            (GET + b"X: y\r\n" * MAX_HEAD_BYTES + b"\r\n", 431, "headers_too_large"),
            (GET + b"X: y\r\n" * MAX_HEADERS + b"\r\n", 431, "headers_too_large"),
            (target(MAX_TARGET_BYTES + 1), 414, "target_too_long"),
            (b"\x16\x03\x01\x02\x00", 400, "bad_request"),
        ],
        ids=["one header", "many headers", "one line more", "target", "TLS"],
    )
    async def test_past_them(self, request_: bytes, status: int, code: str) -> None:
        """On a connection that has served before, too."""
        for first in (b"", GET + b"\r\n"):
            async with connected() as connection:
                if first:
                    await connection.send(first)
                    assert await connection.answer() == b"16"
                await connection.send(request_)
                problem = assert_problem(await connection.refusal(), status, code)
                assert "yyy" not in problem["detail"]

    @pytest.mark.parametrize(
        ("begin", "piece", "status", "code"),
        [
            (GET, b"X: y\r\n" * 1000, 431, "headers_too_large"),
            (GET + b"X: ", b"y" * 4096, 431, "headers_too_large"),
            (GET, b"y" * 4096, 431, "headers_too_large"),
            (b"GET /", b"y" * 4096, 414, "target_too_long"),
        ],
        ids=["headers", "value", "name", "target"],
    )
    async def test_of_one_that_never_ends(self, begin: bytes, piece: bytes, status: int, code: str) -> None:
        async with connected() as connection:
            await connection.send(begin)
            await connection.send_for_ever(piece)
            assert_problem(await connection.refusal(), status, code)

    async def test_of_more_headers_before_their_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Until then, headers of 4 bytes took 40 times as much memory, and the limit has room for 16,000."""
        monkeypatch.setattr(protocol, "LARGE_HEAD_SECONDS", 0.1)
        async with connected() as connection:
            await connection.send(GET + b"a:\r\n" * (MAX_HEADERS + 1))
            assert_problem(await connection.refusal(), 431, "headers_too_large")

    async def test_an_offer_to_upgrade_does_not_hide_what_is_too_large(self) -> None:
        """It has the head read twice; what was dropped the first time may be the body's length."""
        offer = b"Content-Length: 20\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        for piece in (b"X: " + b"y" * MAX_HEAD_BYTES + b"\r\n", b"X: y\r\n" * (MAX_HEAD_BYTES // 6)):
            async with connected() as connection:
                await connection.send(GET + piece)
                await asyncio.sleep(0.1)
                await connection.send(offer + GET + b"\r\n")
                assert_problem(await connection.refusal(), 431, "headers_too_large")

    async def test_of_what_follows_a_body(self) -> None:
        """Trailers are headers. The handler that reads the body gets the refusal, and answers with it."""

        async def reading(scope: Scope, receive: Receive, send: Send) -> None:
            with pytest.raises(ClientDisconnect):
                await Request(scope, receive).body()
            await PlainTextResponse("endless")(scope, receive, send)

        async with connected(reading) as connection:
            await connection.send(GET + b"Transfer-Encoding: chunked\r\n\r\n1\r\ny\r\n0\r\n")
            await connection.send_for_ever(b"X: y\r\n" * 1000)
            head, _, body = (await connection.rest()).partition(b"\r\n\r\n")
            assert b"\r\nconnection: close" in head
            assert body == b"endless"

    async def test_what_follows_a_body_is_no_header(self) -> None:
        async def reading(scope: Scope, receive: Receive, send: Send) -> None:
            await Request(scope, receive).body()
            await app(scope, receive, send)

        async with connected(reading) as connection:
            coding = b"Transfer-Encoding: chunked\r\n\r\n"
            await connection.send(GET + coding + b"1\r\ny\r\n0\r\n")
            await connection.send(b"X-Surprise: y\r\n\r\n")
            assert await connection.answer() == str(len("Hostshop.exampleTransfer-Encodingchunked")).encode()

    async def test_a_body_is_not_counted(self) -> None:
        async def reading(scope: Scope, receive: Receive, send: Send) -> None:
            body = await Request(scope, receive).body()
            await PlainTextResponse(str(len(body)))(scope, receive, send)

        async with connected(reading) as connection:
            for _ in range(2):
                await connection.send(GET + b"Content-Length: %d\r\n\r\n" % ENDLESS)
                for _ in range(32):
                    await connection.send(b"y" * (ENDLESS // 32))
                assert await connection.answer() == str(ENDLESS).encode()

    async def test_no_refusal_stands_in_the_place_of_an_answer(self) -> None:
        """Of a request that came before, on the same connection, and is still worked on."""
        begun = asyncio.Event()

        async def working(scope: Scope, receive: Receive, send: Send) -> None:
            begun.set()
            await receive()
            assert (await receive())["type"] == "http.disconnect"

        async with connected(working) as connection:
            await connection.send(GET + b"\r\n")
            await begun.wait()
            await connection.send(b"This is not HTTP\r\n\r\n")
            assert await connection.rest() == b""


class TestTime:
    @pytest.fixture
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(heads, "HEAD_SECONDS", 0.1)

    @pytest.mark.usefixtures("short")
    @pytest.mark.parametrize("served_before", [False, True], ids=["first", "second"])
    async def test_a_head_that_does_not_end_is_refused(self, served_before: bool) -> None:
        async with connected() as connection:
            if served_before:
                await connection.send(GET + b"\r\n")
                assert await connection.answer() == b"16"
            await connection.send(GET)
            assert_problem(await connection.refusal(), 408, "request_timeout")

    @pytest.mark.usefixtures("short")
    async def test_more_of_it_wins_no_time(self) -> None:
        async with connected() as connection:
            await connection.send(GET + b"X: ")
            dripping = asyncio.create_task(self._drip(connection))
            assert_problem(await connection.refusal(), 408, "request_timeout")
            dripping.cancel()

    async def _drip(self, connection: Connection) -> None:
        with suppress(ConnectionError):
            while True:
                await connection.send(b"y")
                await asyncio.sleep(0.01)

    async def test_the_answer_may_take_longer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(heads, "HEAD_SECONDS", 2.0)

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            await asyncio.sleep(2.2)
            await app(scope, receive, send)

        async with connected(slow) as connection:
            await connection.send(GET)
            await asyncio.sleep(0.1)
            await connection.send(b"\r\n")
            assert await connection.answer() == b"16"

    async def test_who_says_nothing_is_idle(self) -> None:
        """And is hung up on without a word, as between two requests."""
        async with connected(keep_alive=1) as connection:
            assert await connection.rest() == b""
