"""How the service ends: by SIGTERM, SIGINT, SIGHUP (a reload), and when its master is killed."""

import asyncio
import errno
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.platform.server.uvicorn_worker import LINGER_SECONDS
from tests.helpers.client import V1, assert_problem
from tests.helpers.waiting import until_blocked, wait_until
from tests.server.process import PASSWORD, Service, alive, cloned_database, get, locked_row, started

pytestmark = pytest.mark.slow

EMAIL = "maria@shop.example"
LOAD = 300
#: The handler reads the body (which is when it says 100) for as long as the client likes.
UNFINISHED = (
    f"POST {V1}/users HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\n"
    'Content-Length: 100\r\nExpect: 100-continue\r\n\r\n{"email": '
).encode()
REST = f'"{EMAIL}", "password": "{PASSWORD}", "full_name": "Maria"}}'.ljust(90).encode()
CLIENTS = 8


@pytest.fixture
def database() -> Iterator[str]:
    with cloned_database() as url:
        yield url


def rename(service: Service, token: str) -> "asyncio.Task[httpx2.Response]":
    """Change the profile, which waits where the row is locked."""

    async def patch() -> httpx2.Response:
        async with httpx2.AsyncClient(timeout=30) as client:
            headers = {"Authorization": f"Bearer {token}"}
            body = {"full_name": "Maria Anders-Klein"}
            return await client.patch(f"{service.url}{V1}/users/profile", json=body, headers=headers)

    return asyncio.create_task(patch())


async def refuses_connections(service: Service) -> None:
    def refused() -> bool:
        with suppress(ConnectionResetError), socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", service.port)) == errno.ECONNREFUSED
        return False

    await asyncio.to_thread(wait_until, refused)


class TestTerminating:
    async def test_a_running_request_is_finished(self, database: str, tmp_path: Path) -> None:
        with started(tmp_path, DATABASE_URL=database) as service:
            service.wait_until_up()
            wait_until(lambda: len(service.workers()) == 2)
            processes = service.descendants()
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(UNFINISHED)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            service.send(signal.SIGTERM)
            await refuses_connections(service)
            # All that it takes is still there: a database, and threads that hash.
            writer.write(REST)
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            assert head.startswith(b"HTTP/1.1 201 ")
            assert b"\r\nconnection: close" in head
            assert json.loads(body)["email"] == EMAIL
            assert await asyncio.to_thread(service.ended) == 0
            assert len(service.events("service.stopped")) == 2
            assert not any(process.is_running() for process in processes)
            warnings = [line for line in service.lines() if line["level"] not in {"info", "debug"}]
            assert warnings == []

    async def test_a_request_that_cannot_finish_gets_503(self, database: str, tmp_path: Path) -> None:
        """And the last spans, which nobody takes, do not cost the workers what is left of their time."""
        silent = socket.create_server(("127.0.0.1", 0))
        collector = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings: dict[str, Any] = {"GRACEFUL_TIMEOUT": 10, "OTEL_EXPORTER_OTLP_ENDPOINT": collector}
        with silent, started(tmp_path, DATABASE_URL=database, **settings) as service:
            service.wait_until_up()
            wait_until(lambda: len(service.workers()) == 2)
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(UNFINISHED)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            service.send(signal.SIGTERM)
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: 1" in head
            assert b"\r\nconnection: close" in head
            assert json.loads(body)["code"] == "unavailable"
            assert await asyncio.to_thread(service.ended) == 0
            assert len(service.events("request.cut_short")) == 1
            assert len(service.events("service.stopped")) == 2
            # None was killed, by Gunicorn.
            assert len([line for line in service.lines() if "Worker exiting" in line["event"]]) == 2

    async def test_an_incomplete_head_does_not_delay_the_stop(self, database: str, tmp_path: Path) -> None:
        with started(tmp_path, DATABASE_URL=database, GRACEFUL_TIMEOUT=600, WEB_CONCURRENCY=1) as service:
            service.wait_until_up()
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: shop\r\n\r\nGET /livez HTTP/1.1\r\nHost:")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            service.send(signal.SIGTERM)
            assert await asyncio.to_thread(service.ended) == 0
            writer.close()
            assert len(service.events("service.stopped")) == 1

    async def test_a_pooled_client_that_pauses_gets_connection_close(
        self, database: str, tmp_path: Path
    ) -> None:
        """By an answer, on the connection that it has; there is nobody any more to connect to."""
        with started(tmp_path, DATABASE_URL=database, WEB_CONCURRENCY=1) as service:
            service.wait_until_up()
            async with httpx2.AsyncClient(timeout=30) as client:
                first = await client.get(f"{service.url}/livez")
                assert "connection" not in first.headers
                service.send(signal.SIGTERM)
                await refuses_connections(service)
                await asyncio.sleep(2 * LINGER_SECONDS)
                told = await client.get(f"{service.url}/livez")
            assert (told.status_code, told.headers["connection"]) == (200, "close")
            assert await asyncio.to_thread(service.ended) == 0

    @pytest.mark.parametrize("whole_group", [False, True], ids=["master", "group"])
    async def test_an_interrupt_waits_for_nothing(
        self, database: str, tmp_path: Path, whole_group: bool
    ) -> None:
        """Ctrl-C reaches the whole group. The lock is held to the end: only the hurry ends the request."""
        with started(tmp_path, DATABASE_URL=database, GRACEFUL_TIMEOUT=600) as service:
            token = service.wait_until_up().register(EMAIL)
            wait_until(lambda: len(service.workers()) == 2)
            processes = service.descendants()
            async with locked_row(database, EMAIL) as lock:
                running = rename(service, token)
                await until_blocked(lock)
                if whole_group:
                    os.killpg(service.process.pid, signal.SIGINT)
                else:
                    service.send(signal.SIGINT)
                assert_problem(await running, 503, "unavailable")
                assert await asyncio.to_thread(service.ended) == 0
            assert len(service.events("service.stopped")) == 2
            assert not any(process.is_running() for process in processes)


class TestReloading:
    @pytest.mark.parametrize("pooled", [False, True], ids=["anew", "pooled"])
    async def test_no_request_fails(self, database: str, tmp_path: Path, pooled: bool) -> None:
        with started(tmp_path, DATABASE_URL=database) as service:
            service.wait_until_up()
            wait_until(lambda: len(service.workers()) == 2)
            first = service.workers()
            statuses: list[int] = []
            loaded, reloaded = asyncio.Event(), asyncio.Event()

            async def load() -> None:
                async with httpx2.AsyncClient(timeout=30) as client:
                    while len(statuses) < LOAD or not reloaded.is_set():
                        headers = {} if pooled else {"Connection": "close"}
                        answer = await client.get(f"{service.url}{V1}/posts", headers=headers)
                        statuses.append(answer.status_code)
                        if len(statuses) > LOAD // 6:
                            loaded.set()

            async def reload() -> None:
                await loaded.wait()
                service.send(signal.SIGHUP)
                await asyncio.to_thread(wait_until, lambda: not any(alive(pid) for pid in first))
                reloaded.set()

            await asyncio.gather(reload(), *(load() for _ in range(CLIENTS)))
            assert set(statuses) == {200}
            assert len(statuses) >= LOAD
            wait_until(lambda: len(service.workers()) == 2)
            assert len(service.events("service.stopped")) == 2
            assert service.stop() == 0


class TestDraining:
    async def test_clients_leave_before_the_end(self, database: str, tmp_path: Path) -> None:
        """Every pooled client is told by an answer, so that none meets a connection that has closed."""
        flag = tmp_path / "drain"
        with started(tmp_path, DATABASE_URL=database, DRAIN_FILE=flag) as service:
            service.wait_until_up()
            statuses: list[int] = []
            loaded = asyncio.Event()

            async def load() -> None:
                async with httpx2.AsyncClient(timeout=30) as client:
                    told = False
                    while not told:
                        answer = await client.get(f"{service.url}{V1}/posts")
                        statuses.append(answer.status_code)
                        told = answer.headers.get("connection") == "close"
                        if len(statuses) > LOAD // 6:
                            loaded.set()

            async def drain() -> None:
                await loaded.wait()
                flag.touch()

            await asyncio.gather(drain(), *(load() for _ in range(CLIENTS)))
            assert set(statuses) == {200}
            ready = get(f"{service.url}/readyz")
            assert (ready.status_code, ready.json()["draining"]) == (503, True)
            assert get(f"{service.url}/livez").status_code == 200
            flag.unlink()
            await asyncio.to_thread(wait_until, lambda: service.answers("/readyz"))
            assert service.stop() == 0


class TestEmbeddedDatabase:
    def test_nothing_outlives_a_killed_master_and_the_data_stay(self, tmp_path: Path) -> None:
        with started(tmp_path, ENVIRONMENT="development", GRACEFUL_TIMEOUT=600) as service:
            service.wait_until_up().register(EMAIL)
            wait_until(lambda: len(service.workers()) == 2)
            processes = service.descendants()
            names = {process.name() for process in processes}
            assert any(name.startswith("postgres") for name in names)
            service.send(signal.SIGKILL)
            assert service.ended() == -signal.SIGKILL
            wait_until(lambda: not any(alive(process.pid) for process in processes))
            assert len(service.events("master.lost")) == 2
        with started(tmp_path, ENVIRONMENT="development") as service:
            assert service.wait_until_up().sign_in(EMAIL).status_code == 200
            processes = service.descendants()
            assert service.stop() == 0
            assert not any(alive(process.pid) for process in processes)
