import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from service import __version__
from service.errors import Unavailable
from service.platform.config import Settings
from service.platform.database import Database, schema
from service.platform.database.schema import required_revision
from service.platform.server.health import probes, startup
from tests.conftest import for_sqlalchemy
from tests.helpers.application import running
from tests.helpers.client import Api, assert_problem
from tests.helpers.proxy import Proxy, proxy_before
from tests.helpers.waiting import eventually


def at(port: int) -> dict[str, Any]:
    return {"database_url": SecretStr(f"postgresql+asyncpg://user:word@127.0.0.1:{port}/nothing")}


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Bound and not listened on, so that nobody else can come to answer there."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Accepts connections and never says a word: a database behind a dead network."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[tuple[Proxy, dict[str, Any]]]:
    """A database that can be taken away, and the settings that lead to it."""
    with proxy_before(database_url) as (proxy, url):
        address = SecretStr(for_sqlalchemy(url))
        yield proxy, {"database_url": address, "database_direct_url": address}


async def becomes(api: Api, status: int, body: dict[str, Any]) -> None:
    """What `/readyz` answers in the end. A slow machine may take its time to get there."""

    async def is_so() -> bool:
        answer = await api.root("/readyz")
        return (answer.status_code, answer.json()) == (status, body)

    await eventually(is_so)


READY = {"status": "ready", "database": "up", "draining": False}


class TestHealth:
    async def test_says_what_serves(self, api: Api) -> None:
        answer = await api.root("/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "healthy", "version": __version__})

    async def test_needs_no_database(self, settings: Settings, closed_port: int) -> None:
        async with running(settings, **at(closed_port)) as api:
            for path in ("/health", "/livez", "/startupz", "/", "/.well-known/jwks.json"):
                assert (await api.root(path)).status_code == 200
            assert (await api.root("/livez")).json() == {"status": "alive"}
            assert (await api.root("/startupz")).json() == {"status": "started"}


class TestReadiness:
    async def test_is_ready(self, api: Api) -> None:
        await becomes(api, 200, READY)

    @pytest.mark.parametrize(("mode", "status", "word"), [("soft", 200, "ready"), ("hard", 503, "not_ready")])
    async def test_without_a_database_the_mode_decides(
        self,
        settings: Settings,
        proxy: tuple[Proxy, dict[str, Any]],
        monkeypatch: pytest.MonkeyPatch,
        *,
        mode: str,
        status: int,
        word: str,
    ) -> None:
        """Once it has been ready."""
        monkeypatch.setattr(probes, "CACHED_SECONDS", 0.05)
        network, address = proxy
        async with running(settings, **address, readiness_database=mode) as api:
            await becomes(api, 200, READY)
            network.cut()
            await becomes(api, status, {"status": word, "database": "down", "draining": False})
            network.resume()
            await becomes(api, 200, READY)

    async def test_a_database_that_is_silent_is_down(
        self, settings: Settings, silent_port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Long before an attempt to connect is given up, which is asked for at the same time."""
        monkeypatch.setattr(probes, "PING_SECONDS", 0.05)
        async with running(settings, **at(silent_port)) as api:
            connecting = asyncio.create_task(api.get("/posts"))
            await asyncio.sleep(0)
            assert (await api.root("/readyz")).json()["database"] == "down"
            assert not connecting.done()
            assert_problem(await connecting, 503, "unavailable")

    @pytest.mark.parametrize("mode", ["soft", "hard"])
    async def test_a_pod_that_drains_is_not_ready(
        self, settings: Settings, tmp_path: Path, mode: str
    ) -> None:
        flag = tmp_path / "drain"
        async with running(settings, drain_file=flag, readiness_database=mode) as api:
            await becomes(api, 200, READY)
            flag.touch()
            answer = await api.root("/readyz")
            assert (answer.status_code, answer.json()) == (
                503,
                {"status": "not_ready", "database": "up", "draining": True},
            )
            assert (await api.root("/livez")).status_code == 200
            flag.unlink()
            assert (await api.root("/readyz")).status_code == 200


class TestMany:
    """They are public, signed in or not, and have no rate limit."""

    @pytest.mark.parametrize("question", ["ping", "revision"])
    @pytest.mark.parametrize("needed", [required_revision()[0], "next"])
    async def test_a_flood_of_probes_asks_the_database_once(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch, needed: str, question: str
    ) -> None:
        """Ready or not."""
        asked, ask, now = list[Database](), getattr(Database, question), required_revision()[0]

        async def counted(database: Database) -> Any:
            asked.append(database)
            return await ask(database)

        monkeypatch.setattr(Database, question, counted)
        monkeypatch.setattr(schema, "required_revision", lambda: (needed, frozenset({now} - {needed})))
        monkeypatch.setattr(probes, "CACHED_SECONDS", 60.0)
        monkeypatch.setattr(startup, "POLL_SECONDS", 60.0)
        async with running(settings) as api:
            waits = required_revision()[0] != needed
            found = api.app.state.container.startup
            await eventually(lambda: found.revision == now and found.completed != waits)
            asked.clear()
            answers = await asyncio.gather(*(api.root("/readyz") for _ in range(50)))
            answers += [await api.root("/readyz") for _ in range(50)]
            assert {answer.status_code for answer in answers} == {503 if waits else 200}
            assert len({answer.text for answer in answers}) == 1
            # The process asks by itself, too, whether the database is there. So do other applications here.
            assert asked.count(api.app.state.container.database) <= 2

    async def test_it_is_asked_again_when_the_answer_is_old(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(probes, "CACHED_SECONDS", 0.05)
        async with running(settings, readiness_database="hard") as api:
            await becomes(api, 200, READY)

            async def ping(_: Database) -> None:
                raise Unavailable("It does not answer.")

            monkeypatch.setattr(Database, "ping", ping)
            await asyncio.sleep(0.06)
            assert (await api.root("/readyz")).status_code == 503
            monkeypatch.undo()

    async def test_a_client_that_leaves_does_not_cancel_the_check_for_others(
        self, settings: Settings, silent_port: int
    ) -> None:
        async with running(settings, **at(silent_port)) as api:
            first, second = (asyncio.create_task(api.root("/readyz")) for _ in range(2))
            await asyncio.sleep(0.05)
            first.cancel()
            assert (await second).json()["database"] == "down"


class TestWithoutDatabase:
    async def test_the_api_reports_it_without_details(self, settings: Settings, closed_port: int) -> None:
        async with running(settings, **at(closed_port)) as api:
            for answer in (
                await api.get("/posts"),
                await api.post(
                    "/users",
                    json={"email": "m@shop.example", "password": "Northwind1", "full_name": "M"},
                ),
            ):
                assert_problem(answer, 503, "unavailable")
                assert answer.headers["retry-after"] == "1"
                assert "127.0.0.1" not in answer.text
            refused = await api.token("m@shop.example", "Northwind1")
            assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")


class TestWelcome:
    async def test_leads_on(self, api: Api) -> None:
        welcome = (await api.root("/")).json()
        assert welcome == {
            "message": "Welcome to Tradepost",
            "name": "Tradepost",
            "version": __version__,
            "links": {
                "api": "/api/v1",
                "health": "/health",
                "docs": "/docs",
                "redoc": "/redoc",
                "openapi": "/openapi.json",
            },
        }
        for link in ("health", "docs", "redoc", "openapi"):
            assert (await api.root(welcome["links"][link])).status_code == 200

    async def test_without_docs_they_are_nowhere(self, settings: Settings) -> None:
        async with running(settings, docs_enabled=False) as api:
            assert (await api.root("/")).json()["links"] == {"api": "/api/v1", "health": "/health"}
            for path in ("/docs", "/redoc", "/openapi.json", "/docs/assets/favicon.png"):
                assert_problem(await api.root(path), 404, "not_found")
            # The contract is read from the document all the same.
            assert_problem(await api.get("/posts?x=1"), 422, "invalid_input", "?x")
