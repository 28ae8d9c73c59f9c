"""The generator of floods, against a server whose responses are known."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proofs.floods.generator import NUMBER, Generator, Measured, compiled, request

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="the generator is compiled with gcc")

Respond = Callable[[int], Awaitable[bytes]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
LATER = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Calls `respond` with how many requests came before; closes a connection after no response."""

    def __init__(self, respond: Respond) -> None:
        self.respond, self.seen, self.connections = respond, list[bytes](), 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
                self.seen.append(head + await reader.readexactly(int(length or 0)))
                response = await self.respond(len(self.seen) - 1)
                writer.write(response)
                if not response or b"Connection: close" in response:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(folder: Path, respond: Respond) -> AsyncIterator[tuple[Server, Generator]]:
    server = Server(respond)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        yield server, Generator(await compiled(folder), port)


def always(response: bytes) -> Respond:
    async def respond(_: int) -> bytes:
        return response

    return respond


def counts(found: Measured) -> dict[str, int]:
    return {status: outcome.count for status, outcome in found.outcomes.items()}


REQUESTS = [request("GET", "/a"), request("POST", "/b", {"X-Key": f"k-{NUMBER}"}, b'{"a": 1}')]


class TestOpenLoop:
    async def test_it_sends_as_many_as_are_due_over_few_connections(self, tmp_path: Path) -> None:
        async with serving(tmp_path, always(OK)) as (server, generator):
            found = await generator.run(REQUESTS, rate=500, seconds=0.5, connections=3, patience=30)
            assert counts(found) == {"200": 250}
            assert server.connections == 3
        assert sum(second.outcomes["200"].count for second in found.seconds if second.outcomes) <= 250

    async def test_a_server_that_stops_for_a_while_looks_as_slow_as_it_was(self, tmp_path: Path) -> None:
        """What was due meanwhile counts from when it was due: half of all have waited, and not one."""

        async def respond(number: int) -> bytes:
            if number == 0:
                await asyncio.sleep(0.6)
            return OK

        async with serving(tmp_path, respond) as (_, generator):
            found = await generator.run(REQUESTS, rate=200, seconds=1, connections=1, patience=30)
        assert counts(found) == {"200": 200}
        assert found.of("200").p50_ms >= 50
        assert found.of("200").max_ms >= 590

    async def test_without_a_rate_each_connection_sends_when_it_has_its_response(
        self, tmp_path: Path
    ) -> None:
        under_way, most = 0, 0

        async def respond(_: int) -> bytes:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1
            return OK

        async with serving(tmp_path, respond) as (server, generator):
            found = await generator.run(REQUESTS, rate=0, seconds=0.5, connections=4, patience=30)
            assert counts(found) == {"200": len(server.seen)}
            assert most == 4


class TestRequests:
    async def test_they_are_sent_in_turn_and_numbered(self, tmp_path: Path) -> None:
        created = tmp_path / "created"

        async def respond(number: int) -> bytes:
            return CREATED if number % 2 else OK

        async with serving(tmp_path, respond) as (server, generator):
            await generator.run(REQUESTS, rate=100, seconds=0.06, connections=1, patience=30, created=created)
            bodies = [REQUESTS[1].replace(NUMBER.encode(), b"%010d" % number) for number in (1, 3, 5)]
            assert server.seen == [each for body in bodies for each in (REQUESTS[0], body)]
            assert created.read_text().split() == ["1", "3", "5"]


class TestOutcomes:
    async def test_each_status_is_counted_and_refusals_without_a_time(self, tmp_path: Path) -> None:
        responses = (OK, BUSY, LATER, LAST)

        async def respond(number: int) -> bytes:
            return responses[number % 4]

        async with serving(tmp_path, respond) as (server, generator):
            found = await generator.run(REQUESTS, rate=400, seconds=0.1, connections=1, patience=30)
            assert counts(found) == {"200": 20, "503": 20}
            assert found.of("503").without_retry_after == 10
            assert server.connections >= 10

    async def test_what_has_no_response_is_not_left_out(self, tmp_path: Path) -> None:
        async def never(_: int) -> bytes:
            await asyncio.sleep(60)
            return OK

        async with serving(tmp_path, never) as (_, generator):
            found = await generator.run(REQUESTS, rate=100, seconds=0.3, connections=2, patience=0.2)
        total = Counter(counts(found))
        assert set(total) <= {"timed_out", "unsent"}
        assert total["timed_out"] >= 2
        assert total.total() == 30

    async def test_nor_what_finds_no_connection_free(self, tmp_path: Path) -> None:
        enough = asyncio.Event()

        async def last(number: int) -> bytes:
            await (asyncio.sleep(0.3) if number < 2 else enough.wait())
            return OK

        async with serving(tmp_path, last) as (_, generator):
            found = await generator.run(REQUESTS, rate=100, seconds=0.2, connections=2, patience=30, wait=0)
        assert counts(found) == {"200": 2, "unsent": 18}

    async def test_nor_what_is_cut_off(self, tmp_path: Path) -> None:
        async with serving(tmp_path, always(b"")) as (_, generator):
            found = await generator.run(REQUESTS, rate=100, seconds=0.1, connections=1, patience=30)
        assert counts(found) == {"broken": 10}
