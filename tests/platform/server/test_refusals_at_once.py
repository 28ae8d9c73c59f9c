"""A process that is full refuses without running the application, and says what the application would."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import uvicorn
from prometheus_client import REGISTRY
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from service.platform.http.addresses import Hosts, Proxies
from service.platform.http.context import RequestContext
from service.platform.http.overload import BodyLimit, Load, LoadShedding
from service.platform.http.refusal_at_once import RefusalAtOnce
from service.platform.server.http1 import turns
from service.platform.server.http1.protocol import Protocol
from service.platform.server.http1.turns import Turns
from tests.helpers.client import assert_problem
from tests.helpers.streaming import served

PATH = "/api/v1/users/profile"
IDS = {"x-request-id": "an-id-of-the-client"}


class Full:
    """An application of which every place is taken, and how often it was run."""

    def __init__(self) -> None:
        self.load, self.runs = Load(connections=1), 0
        self.load.running = self.load.capacity
        hosts = Hosts(public_url="https://shop.example", max_age=60)
        self.at_once = RefusalAtOnce(self.load, Proxies(()), hosts, {("/cached", b"")}.__contains__)
        self._app = RequestContext(
            LoadShedding(BodyLimit(self._answer, 1 << 20), load=self.load), proxies=Proxies(()), hosts=hosts
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.runs += 1
        await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await PlainTextResponse("ok")(scope, receive, send)


@asynccontextmanager
async def client(
    full: Full, monkeypatch: pytest.MonkeyPatch, *, at_once: bool
) -> AsyncIterator[httpx2.AsyncClient]:
    """With `at_once` the server may refuse, as the worker has it."""
    made = Turns(full.load)

    def protocol(**options: Any) -> Protocol:
        more: dict[str, Any] = {"refuse_at_once": full.at_once, "turns": made} if at_once else {}
        return Protocol(**options, **more)

    load = uvicorn.Config.load

    def loaded(config: uvicorn.Config) -> None:
        load(config)
        config.http_protocol_class = protocol  # type: ignore[assignment]

    monkeypatch.setattr(uvicorn.Config, "load", loaded)
    async with served(full) as url, httpx2.AsyncClient(base_url=url, timeout=30) as found:
        yield found


@pytest.fixture
def full() -> Full:
    return Full()


def described(answer: httpx2.Response) -> tuple[int, dict[str, str], Any]:
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    return answer.status_code, headers, answer.json()


def shed() -> float:
    return REGISTRY.get_sample_value("requests_shed_total") or 0.0


REQUESTS: dict[str, dict[str, Any]] = {
    "a read": {"method": "GET", "url": PATH, "headers": IDS},
    "an order": {"method": "POST", "url": "/api/v1/orders", "headers": IDS, "json": {"lines": [1, 2]}},
}


async def in_chunks() -> AsyncIterator[bytes]:
    yield b"{}"


AS_USUAL: dict[str, dict[str, Any]] = {
    "a browser": {"method": "GET", "url": PATH, "headers": {"Origin": "https://shop.example"}},
    "a sign-in": {"method": "POST", "url": "/api/v1/auth/token", "data": {"grant_type": "password"}},
    "in chunks": {"method": "POST", "url": PATH, "content": in_chunks()},
    "a large body": {"method": "POST", "url": PATH, "content": b" " * 70_000},
    "no body": {"method": "HEAD", "url": PATH},
    "the last": {"method": "GET", "url": PATH, "headers": {"Connection": "close"}},
}


class TestRefusing:
    @pytest.mark.parametrize("name", REQUESTS)
    async def test_it_says_what_the_application_says(
        self, full: Full, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with client(full, monkeypatch, at_once=False) as usual:
            expected = await usual.request(**REQUESTS[name])
        assert_problem(expected, 503, "overloaded")
        assert full.runs == 1
        before = shed()
        async with client(full, monkeypatch, at_once=True) as quick:
            for _ in range(3):
                assert described(await quick.request(**REQUESTS[name])) == described(expected)
        assert (full.runs, shed() - before) == (1, 3)

    async def test_each_has_an_id_of_its_own_and_one_line_in_the_log(
        self, full: Full, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with capture_logs() as lines:
            async with client(full, monkeypatch, at_once=True) as quick:
                answers = [await quick.get(PATH) for _ in range(3)]
        ids = [answer.headers["x-request-id"] for answer in answers]
        assert len(set(ids)) == 3
        assert [answer.json()["instance"] for answer in answers] == ids
        assert [line["event"] for line in lines].count("request.answered") == 3

    @pytest.mark.parametrize("name", AS_USUAL)
    async def test_what_needs_more_thought_is_refused_as_usual(
        self, full: Full, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with client(full, monkeypatch, at_once=True) as quick:
            assert (await quick.request(**AS_USUAL[name])).status_code == 503
        assert full.runs == 1

    @pytest.mark.parametrize("path", ["/livez", "/readyz/", "/cached"])
    async def test_probes_and_what_is_in_memory_go_through(
        self, full: Full, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with client(full, monkeypatch, at_once=True) as quick:
            await quick.get(path)
        assert full.runs == 1


class TestTurns:
    async def test_those_that_wait_are_answered_in_turn(
        self, full: Full, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also when each slice has time for one of them, and when there are places again."""
        monkeypatch.setattr(turns, "SLICE_SECONDS", 0.000_001)
        async with client(full, monkeypatch, at_once=True) as quick:
            answers = await asyncio.gather(*(quick.get(PATH) for _ in range(50)))
            assert [answer.status_code for answer in answers] == [503] * 50
            full.load.running = 0
            answers = await asyncio.gather(*(quick.get(PATH) for _ in range(50)))
            found = [answer.status_code for answer in answers]
            assert found.count(200) >= full.load.capacity
            assert found.count(200) + found.count(503) == 50
            assert full.load.running == 0

    async def test_no_more_go_on_than_there_are_places(
        self, full: Full, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Though the application has not run for the first when the last is looked at."""
        full.load.running = 0
        for _ in range(full.load.capacity - 1):
            full.load.expect()
        seen = [full.load.will_be_full]
        full.load.expect()
        seen.append(full.load.will_be_full)
        await asyncio.sleep(0)
        seen.append(full.load.will_be_full)
        assert seen == [False, True, False]

    async def test_a_burst_of_more_than_there_are_places_is_not_refused_where_none_is_held(
        self, full: Full, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All of it may come in one iteration of the event loop."""
        full.load.running = 0
        async with client(full, monkeypatch, at_once=True) as quick:
            port = quick.base_url.port or 0
            slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10 * full.load.capacity)]
            for _, writer in slow:
                writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{")
            assert (await quick.get(PATH)).status_code == 200
            for _, writer in slow:
                writer.write(b"}")
            assert {(await reader.readline())[9:12] for reader, _ in slow} == {b"200"}
            for _, writer in slow:
                writer.close()
