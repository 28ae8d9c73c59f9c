import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from service import __version__
from service.errors import Unavailable
from service.platform.config import Settings
from service.platform.database import Database, schema
from service.platform.database.schema import required_revision
from service.platform.server.health import probes
from tests.helpers.application import running
from tests.helpers.client import Api, assert_problem


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


class TestHealth:
    async def test_says_what_serves(self, api: Api) -> None:
        answer = await api.root("/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "healthy", "version": __version__})

    async def test_needs_no_database(self, settings: Settings, closed_port: int) -> None:
        async with running(settings, **at(closed_port)) as api:
            for path in ("/health", "/livez", "/", "/.well-known/jwks.json"):
                assert (await api.root(path)).status_code == 200
            assert (await api.root("/livez")).json() == {"status": "alive"}


class TestReadiness:
    async def test_is_ready(self, api: Api) -> None:
        answer = await api.root("/readyz")
        assert (answer.status_code, answer.json()) == (
            200,
            {"status": "ready", "database": "up", "draining": False},
        )

    @pytest.mark.parametrize(("mode", "status", "word"), [("soft", 200, "ready"), ("hard", 503, "not_ready")])
    async def test_without_a_database_the_mode_decides(
        self, settings: Settings, closed_port: int, mode: str, status: int, word: str
    ) -> None:
        async with running(settings, **at(closed_port), readiness_database=mode) as api:
            answer = await api.root("/readyz")
            assert (answer.status_code, answer.json()) == (
                status,
                {"status": word, "database": "down", "draining": False},
            )

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
            assert (await api.root("/readyz")).status_code == 200
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

    @pytest.mark.parametrize(("path", "question"), [("/readyz", "ping"), ("/startupz", "revision")])
    async def test_a_flood_of_probes_asks_the_database_once(
        self, settings: Settings, lease: object, monkeypatch: pytest.MonkeyPatch, path: str, question: str
    ) -> None:
        asked, ask = list[Database](), getattr(Database, question)

        async def counted(database: Database) -> Any:
            asked.append(database)
            return await ask(database)

        monkeypatch.setattr(Database, question, counted)
        monkeypatch.setattr(probes, "CACHED_SECONDS", 60.0)
        async with running(settings) as api:
            asked.clear()
            answers = await asyncio.gather(*(api.root(path) for _ in range(50)))
            answers += [await api.root(path) for _ in range(50)]
            assert {answer.status_code for answer in answers} <= {200, 503}
            assert len({answer.text for answer in answers}) == 1
            # The process asks by itself, too, whether the database is there. So do other applications here.
            assert asked.count(api.app.state.container.database) <= 2

    async def test_it_is_asked_again_when_the_answer_is_old(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(probes, "CACHED_SECONDS", 0.05)
        async with running(settings, readiness_database="hard") as api:
            assert (await api.root("/readyz")).status_code == 200

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


@pytest.mark.usefixtures("lease")
class TestStartup:
    async def test_at_this_builds_schema_it_has_started(self, api: Api) -> None:
        answer = await api.root("/startupz")
        needed, _ = required_revision()
        assert (answer.status_code, answer.json()) == (
            200,
            {
                "status": "started",
                "schema_revision": needed,
                "required_revision": needed,
                "listening": True,
            },
        )

    async def test_at_an_older_schema_it_waits(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        now, _ = required_revision()
        monkeypatch.setattr(schema, "required_revision", lambda: ("next", frozenset({now})))
        answer = await api.root("/startupz")
        assert (answer.status_code, answer.json()) == (
            503,
            {
                "status": "starting",
                "schema_revision": now,
                "required_revision": "next",
                "listening": True,
            },
        )

    async def test_a_newer_builds_schema_is_good_too(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a rollout half done, or rolled back: migrations keep the builds before them working."""
        now, _ = required_revision()
        monkeypatch.setattr(schema, "required_revision", lambda: ("before", frozenset()))
        answer = await api.root("/startupz")
        assert (answer.status_code, answer.json()) == (
            200,
            {
                "status": "started",
                "schema_revision": now,
                "required_revision": "before",
                "listening": True,
            },
        )

    async def test_before_the_first_migration_it_waits(
        self, api: Api, sql: asyncpg.Connection, settings: Settings
    ) -> None:
        assert settings.database_url is not None
        name = f"{settings.database_url.get_secret_value().rpartition('/')[2]}_empty"
        url = f"{settings.database_url.get_secret_value().rpartition('/')[0]}/{name}"
        await sql.execute(f"CREATE DATABASE {name}")
        try:
            async with running(settings, database_url=SecretStr(url)) as empty:
                answer = await empty.root("/startupz")
        finally:
            await sql.execute(f"DROP DATABASE {name} WITH (FORCE)")
        assert (answer.status_code, answer.json()) == (
            503,
            {
                "status": "starting",
                "schema_revision": None,
                "required_revision": required_revision()[0],
                "listening": False,
            },
        )

    async def test_without_the_change_feed_it_waits(self, settings: Settings, closed_port: int) -> None:
        """It would serve, but would ask the database at every request who is calling."""
        direct = at(closed_port)["database_url"]
        async with running(settings, database_direct_url=direct) as api:
            answer = await api.root("/startupz")
        needed, _ = required_revision()
        assert (answer.status_code, answer.headers["retry-after"], answer.json()) == (
            503,
            "1",
            {
                "status": "starting",
                "schema_revision": needed,
                "required_revision": needed,
                "listening": False,
            },
        )

    async def test_without_a_database_nothing_can_be_said(self, settings: Settings, closed_port: int) -> None:
        async with running(settings, **at(closed_port)) as api:
            answer = await api.root("/startupz")
            assert_problem(answer, 503, "unavailable")
            assert answer.headers["retry-after"] == "1"


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
