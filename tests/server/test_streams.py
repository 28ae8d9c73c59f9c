"""Streams of real processes: how they end with their process, and the guide's code in a browser."""

import asyncio
import json
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from playwright.async_api import async_playwright

from service.platform.config import generate_key
from service.platform.http.sse import RETRY_SPREAD_MS
from tests.helpers.client import V1
from tests.helpers.streaming import Event, Listening, listening
from tests.helpers.waiting import PATIENCE_SECONDS, wait_until
from tests.server.process import REPOSITORY, Service, alive, cloned_database, started
from tests.server.test_docs import BROWSERS, FLAGS

pytestmark = pytest.mark.slow

#: Much less than GRACEFUL_TIMEOUT, for which the process would wait if streams held it.
SOON_SECONDS = 10.0
STREAMS = 10


@pytest.fixture
def database() -> Iterator[str]:
    with cloned_database() as url:
        yield url


@dataclass
class Reader:
    id: int
    token: str


def register(service: Service, email: str) -> Reader:
    token = service.register(email)
    with service.client(token) as client:
        return Reader(client.get("/users/profile").json()["id"], token)


async def notify(database: str, reader: Reader, *titles: str, body: str = "") -> None:
    connection = await asyncpg.connect(database)
    try:
        statement = "INSERT INTO notifications (user_id, kind, title, body) VALUES ($1, 'x', $2, $3)"
        await connection.executemany(statement, [(reader.id, title, body) for title in titles])
    finally:
        await connection.close()


async def listeners(stack: AsyncExitStack, service: Service, *readers: Reader) -> list[Listening]:
    return [
        await stack.enter_async_context(listening(service.url, reader.token))
        for reader in readers
        for _ in range(STREAMS)
    ]


def said_goodbye(blocks: list[Event]) -> None:
    """One block, and then the answer's proper end: a connection that is cut would have raised."""
    [last] = blocks
    assert last.comments == ["stopping"]
    assert last.retry is not None
    assert RETRY_SPREAD_MS[0] <= last.retry <= RETRY_SPREAD_MS[1]


def stalled(service: Service, reader: Reader) -> socket.socket:
    """A client that asks for a lot and reads nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", service.port))
    request = f"GET {V1}/notifications/stream?last_event_id=0 HTTP/1.1\r\nHost: shop.example\r\n"
    connection.sendall(f"{request}Authorization: Bearer {reader.token}\r\n\r\n".encode())
    return connection


class TestTerminating:
    async def test_every_stream_is_ended_and_delays_no_stop(self, database: str, tmp_path: Path) -> None:
        with started(tmp_path, DATABASE_URL=database) as service:
            service.wait_until_up()
            wait_until(lambda: len(service.workers()) == 2)
            maria, ana, eve = [register(service, f"{name}@shop.example") for name in ("maria", "ana", "eve")]
            await notify(database, eve, *(["Much"] * 2_000), body="x" * 10_000)
            async with AsyncExitStack() as stack:
                streams = await listeners(stack, service, maria, ana)
                with stalled(service, eve):
                    await asyncio.sleep(1)  # until nothing more fits on the way to her
                    service.send(signal.SIGTERM)
                    ended = asyncio.gather(*(stream.rest() for stream in streams))
                    assert await asyncio.to_thread(service.ended, SOON_SECONDS) == 0
                    for blocks in await ended:
                        said_goodbye(blocks)
            assert len(service.events("service.stopped")) == 2
            warnings = [line for line in service.lines() if line["level"] not in {"info", "debug"}]
            assert warnings == []
            answered = service.events("request.answered")
            assert [line["status"] for line in answered if line["route"].endswith("/stream")] == [200] * 21


class TestReloading:
    async def test_clients_come_again_and_miss_nothing(self, database: str, tmp_path: Path) -> None:
        with started(tmp_path, DATABASE_URL=database) as service:
            service.wait_until_up()
            wait_until(lambda: len(service.workers()) == 2)
            first = service.workers()
            maria, ana = register(service, "maria@shop.example"), register(service, "ana@shop.example")
            async with AsyncExitStack() as stack:
                streams = await listeners(stack, service, maria, ana)
                service.send(signal.SIGHUP)
                for blocks in await asyncio.gather(*(stream.rest() for stream in streams)):
                    said_goodbye(blocks)
                await notify(database, maria, "Meanwhile")
                async with listening(
                    service.url, maria.token, after=int(streams[0].opening.id or 0)
                ) as again:
                    await notify(database, maria, "After")
                    assert await again.titles(2) == ["Meanwhile", "After"]
            await asyncio.to_thread(wait_until, lambda: not any(alive(pid) for pid in first), SOON_SECONDS)
            assert service.stop() == 0


class TestScalingDown:
    async def test_a_stream_goes_on_at_another_pod(self, database: str, tmp_path: Path) -> None:
        """While its pod drains it goes on; when that ends, the client comes to another and misses nothing."""
        shared: dict[str, Any] = {
            "DATABASE_URL": database,
            "SECRET_KEY": generate_key(),
            "WEB_CONCURRENCY": 1,
        }
        flag = tmp_path / "drain"
        with (
            started(tmp_path / "goes", DRAIN_FILE=flag, **shared) as goes,
            started(tmp_path / "stays", **shared) as stays,
        ):
            goes.wait_until_up()
            stays.wait_until_up()
            maria = register(goes, "maria@shop.example")
            async with listening(goes.url, maria.token) as stream:
                flag.touch()
                await asyncio.to_thread(wait_until, lambda: not goes.answers("/readyz"))
                await notify(database, maria, "Draining")
                seen = await stream.event()
                assert seen.data["title"] == "Draining"
                goes.send(signal.SIGTERM)
                said_goodbye(await stream.rest())
            await notify(database, maria, "Meanwhile")
            async with listening(stays.url, maria.token, after=int(seen.id or 0)) as again:
                await notify(database, maria, "After")
                assert await again.titles(2) == ["Meanwhile", "After"]


class TestMetrics:
    async def test_open_streams_are_counted_over_all_workers(self, database: str, tmp_path: Path) -> None:
        with started(tmp_path, DATABASE_URL=database) as service:
            maria = register(service.wait_until_up(), "maria@shop.example")

            def open_ones() -> set[str]:
                line = r'^notification_streams\{opened_by="token"\} (\S+)$'
                return set(re.findall(line, service.metrics(), re.MULTILINE))

            async with AsyncExitStack() as stack:
                await listeners(stack, service, maria)
                await asyncio.to_thread(wait_until, lambda: open_ones() == {f"{STREAMS}.0"})
            await asyncio.to_thread(wait_until, lambda: open_ones() == {"0.0"})
            duration = rf'http_request_duration_seconds_count{{[^}}]*"{V1}/notifications/stream"'
            assert re.findall(duration, service.metrics()) == []
            assert service.stop() == 0


def code_of_the_guide() -> str:
    """The browser's part of docs/api.md."""
    [code] = re.findall(r"```js\n(.*?)```", (REPOSITORY / "docs" / "api.md").read_text(), re.DOTALL)
    return str(code)


class TestBrowser:
    async def test_the_guides_code_follows_through_a_restart(self, database: str, tmp_path: Path) -> None:
        program = next(filter(None, map(shutil.which, BROWSERS)), None)
        assert program, "there is no browser; on Debian: apt-get install chromium"
        with started(tmp_path, DATABASE_URL=database) as service:
            maria = register(service.wait_until_up(), "maria@shop.example")
            wait_until(lambda: len(service.workers()) == 2)
            await notify(database, maria, "Before")
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=program, args=FLAGS)
                page = await browser.new_page()
                asked: list[str] = []
                page.on("request", lambda request: asked.append(request.url))
                # Any page of the same origin.
                await page.goto(f"{service.url}/docs")
                await page.evaluate(
                    f"""() => {{
                        {code_of_the_guide()}
                        window.heard = [];
                        const bearer = {json.dumps({"Authorization": f"Bearer {maria.token}"})};
                        const call = (url, options) => fetch(url, {{...options, headers: bearer}});
                        follow(call, "{V1}", (notification) => window.heard.push(notification.title));
                    }}"""
                )

                async def hears(*titles: str) -> None:
                    deadline = time.monotonic() + PATIENCE_SECONDS
                    while len(heard := await page.evaluate("window.heard")) < len(titles):
                        assert time.monotonic() < deadline, heard
                        await asyncio.sleep(0.05)
                    assert heard == list(titles)

                await asyncio.to_thread(wait_until, lambda: any("ticket=" in url for url in asked))
                await notify(database, maria, "Live")
                await hears("Live")
                first = service.workers()
                service.send(signal.SIGHUP)
                await asyncio.to_thread(wait_until, lambda: not any(alive(pid) for pid in first))
                await notify(database, maria, "While nobody listened", "And more")
                await hears("Live", "While nobody listened", "And more")
                await notify(database, maria, "Live again")
                await hears("Live", "While nobody listened", "And more", "Live again")
                tickets = [url for url in asked if "ticket=" in url]
                assert len(tickets) == len(set(tickets)) >= 2
                await browser.close()
            answers: list[dict[str, Any]] = service.events("request.answered")
            # Who asks a worker that ends, on a connection that it still keeps, is sent elsewhere by 503.
            assert {line["status"] for line in answers if "/stream" in line["route"]} - {503} == {200}
            log, started_at = service.stdout, time.monotonic()
            assert [url for url in tickets if url.rpartition("ticket=")[2].partition("&")[0] in log] == []
            assert service.stop() == 0
            assert time.monotonic() - started_at < SOON_SECONDS
