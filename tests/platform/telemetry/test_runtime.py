"""What a process tells of its event loop, its threads, its hashing and its database.

Its figures are the process's, and the application of the other tests moves them too: it asks its database
every few seconds, and its monitor beats. So these tests have an event loop of their own (`alone`), in which
nothing else runs: the application stands still meanwhile.
"""

import asyncio
import threading
import time
from typing import Any

import asyncpg
import pytest
from anyio import to_thread
from sqlalchemy import text

from service.errors import Conflict, Overloaded
from service.identity import Passwords
from service.identity import metrics as password_metrics
from service.platform.config import Settings
from service.platform.database import Database
from service.platform.database import metrics as database_metrics
from service.platform.http.overload import LoadShedding
from service.platform.server.health.health_metrics import ProcessMonitor
from service.platform.telemetry import runtime
from service.posts import repository as posts
from tests.conftest import for_sqlalchemy
from tests.helpers.factories import PASSWORD, Make
from tests.helpers.waiting import eventually
from tests.platform.telemetry.counted import alone, counted


class TestPulse:
    def test_a_loop_that_is_held_up_is_late(self) -> None:
        def late() -> float:
            below = counted("event_loop_lag_seconds_bucket", le="0.25")
            return counted("event_loop_lag_seconds_count") - below

        async def held_up() -> None:
            monitor, before = runtime.RuntimeMonitor(), counted("event_loop_lag_seconds_count")
            monitor.start("tests")
            await asyncio.sleep(0.01)
            time.sleep(0.6)  # noqa: ASYNC251 - what it looks for
            await eventually(lambda: counted("event_loop_lag_seconds_count") > before)
            await monitor.stop()

        before = late()
        asyncio.run(held_up())
        assert late() > before
        assert counted("build_info", version="tests") == 1

    @alone
    async def test_threads_that_work_are_seen(self) -> None:
        told, leave = threading.Event(), threading.Event()

        def work() -> None:
            told.set()
            leave.wait()

        monitor = runtime.RuntimeMonitor()
        working = asyncio.create_task(to_thread.run_sync(work))
        await eventually(told.is_set)
        monitor.start("tests")
        assert counted("thread_pool_tasks") == 1
        assert counted("thread_pool_limit") == 40
        leave.set()
        await working
        await monitor.stop()
        assert counted("thread_pool_tasks") == 0

    @alone
    async def test_hashing_is_counted_until_it_is_done(self) -> None:
        password_metrics.begin()
        passwords, before = Passwords(), counted("password_hash_duration_seconds_count")
        hashing = [asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(3)]
        await asyncio.sleep(0)
        assert counted("password_hashes_waiting") == 3
        await asyncio.gather(*hashing)
        assert counted("password_hashes_waiting") == 0
        assert counted("password_hash_duration_seconds_count") == before + 3
        passwords.close()


class TestRequestsInProgress:
    async def test_returns_to_nothing_when_clients_leave(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun = 0

        async def find(*_: Any, **__: Any) -> None:
            nonlocal begun
            begun += 1
            await asyncio.Event().wait()

        monkeypatch.setattr(posts, "find", find)
        # What an earlier test has left may still be about to end.
        await eventually(lambda: counted("http_requests_in_progress") == 0)
        asking = [asyncio.create_task(make.api.get("/posts")) for _ in range(5)]
        await eventually(lambda: begun == 5)
        assert counted("http_requests_in_progress") == 5
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert counted("http_requests_in_progress") == 0

    @alone
    async def test_what_is_shed_is_not_in_progress(self) -> None:
        before, shed = counted("http_requests_in_progress"), counted("requests_shed_total")

        async def app(*_: Any) -> None:
            raise AssertionError

        async def send(_: Any) -> None:
            assert counted("http_requests_in_progress") == before

        scope = {"type": "http", "path": "/x", "method": "GET", "headers": [], "state": {}}
        await LoadShedding(app, connections=0)(scope, send, send)  # type: ignore[arg-type]
        assert counted("requests_shed_total") == shed + 1


class TestSizes:
    async def test_of_bodies_by_route(self, make: Make) -> None:
        maria, route = await make.user(), "/api/v1/users/profile"
        received, sent = "http_request_size_bytes", "http_response_size_bytes"
        names = (f"{received}_count", f"{received}_sum", f"{sent}_count", f"{sent}_sum")
        before = [counted(name, route=route) for name in names]
        body = b'{"full_name": "Maria Anders-Klein"}'
        answer = await maria.api.patch(
            "/users/profile", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 200
        read = await maria.api.get("/users/profile")
        grown = [counted(name, route=route) - old for name, old in zip(names, before, strict=True)]
        assert grown == [1, len(body), 2, len(answer.content) + len(read.content)]


class TestDatabase:
    @pytest.fixture
    def one(self, database_url: str, settings: Settings) -> Database:
        """With a single connection, and no waiting for it."""
        one = {"database_pool_size": 1, "database_max_overflow": 0, "database_pool_timeout": 0.05}
        return Database(for_sqlalchemy(database_url), settings.model_copy(update=one))

    @pytest.mark.parametrize(
        ("statement", "operation"),
        [
            ("SELECT 1", "select"),
            ("\n  select 1", "select"),
            ("WITH a AS (SELECT 1) SELECT * FROM a", "with"),
            ("INSERT INTO posts SELECT * FROM posts WHERE false", "insert"),
            ("UPDATE posts SET title = 'x' WHERE false", "update"),
            ("DELETE FROM posts WHERE false", "delete"),
            ("LOCK TABLE posts", "other"),
        ],
    )
    @alone
    async def test_statements_by_their_first_word(
        self, one: Database, statement: str, operation: str
    ) -> None:
        await one.ping()  # the first connection asks more than it is told to
        before = counted("database_query_duration_seconds_count", operation=operation)
        async with one.transaction() as session:
            await session.execute(text(statement))
        await one.close()
        assert counted("database_query_duration_seconds_count", operation=operation) == before + 1

    @alone
    async def test_those_that_fail_too(self, one: Database) -> None:
        await one.ping()
        before = counted("database_query_duration_seconds_count", operation="select")
        with pytest.raises(asyncpg.UndefinedTableError):
            async with one.reading() as session:
                await session.execute(text("SELECT * FROM nowhere"))
        await one.close()
        assert counted("database_query_duration_seconds_count", operation="select") == before + 1

    @alone
    async def test_transactions_by_what_became_of_them(self, one: Database) -> None:
        outcomes = ("committed", "rolled_back", "unknown")
        before = [counted("database_transactions_total", outcome=name) for name in outcomes]
        async with one.transaction():
            pass
        for fault in (Conflict("no"), RuntimeError("no")):
            with pytest.raises(type(fault)):
                async with one.transaction():
                    raise fault
        await one.close()
        now = [counted("database_transactions_total", outcome=name) for name in outcomes]
        assert [a - b for a, b in zip(now, before, strict=True)] == [1, 2, 0]

    @alone
    async def test_waiting_for_a_connection_in_vain_is_seen(self, one: Database) -> None:
        before = counted("database_pool_wait_seconds_count")
        early = counted("database_pool_wait_seconds_bucket", le="0.025")
        async with one.reading() as session:
            await session.execute(text("SELECT 1"))
            assert one.pool_usage == (1, 1)
            with pytest.raises(Overloaded):
                await one.ping()
        assert one.pool_usage == (0, 1)
        await one.close()
        assert counted("database_pool_wait_seconds_count") == before + 2
        assert counted("database_pool_wait_seconds_bucket", le="0.025") <= early + 1

    @alone
    async def test_the_monitor_measures_the_pool_and_the_database(
        self, one: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        heard = True
        monitor = ProcessMonitor(one, lambda: heard)
        async with one.reading() as session:
            await session.execute(text("SELECT 1"))
            await monitor.start()
            assert counted("database_pool_connections_in_use") == 1
            assert counted("database_pool_size") == 1
            assert counted("change_feed_listening") == 1
        await monitor.stop()
        heard = False
        await monitor.start()
        await eventually(lambda: counted("database_up") == 1)
        await monitor.stop()
        assert counted("change_feed_listening") == 0
        await one.close()

    @alone
    async def test_a_database_that_is_away_is_down(self, settings: Settings) -> None:
        away = Database("postgresql+asyncpg://nobody@127.0.0.1:9/nowhere", settings)
        database_metrics.database_seen(up=True)
        monitor = ProcessMonitor(away)
        await monitor.start()
        await eventually(lambda: counted("database_up") == 0)
        await monitor.stop()
        await away.close()
