"""What a stream may take, and its outcome when clients, the feed or the database fail."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import asyncpg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from service.container.api import Container
from service.notifications import repository as notifications
from service.notifications.streams import subscribers
from service.notifications.streams.subscribers import MAX_PER_USER
from tests.helpers.client import V1, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.streaming import ENDED, gauge, listening, notify, reason_of_end
from tests.helpers.waiting import eventually


@contextmanager
def who_does_not_read(url: str, token: str) -> Iterator[socket.socket]:
    """Asks for everything."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        request = f"GET {V1}/notifications/stream?last_event_id=0 HTTP/1.1\r\nHost: shop.example\r\n"
        connection.sendall(f"{request}Authorization: Bearer {token}\r\n\r\n".encode())
        yield connection


class TestBackpressure:
    MOST = 3_000

    @pytest.fixture
    async def maria(self, url: str, make: Make, sql: asyncpg.Connection) -> Person:
        """She has been told more than there is room for on the way to her."""
        maria = await make.user()
        told = """INSERT INTO notifications (user_id, kind, title, body)
                  SELECT $1, 'x', 'x', repeat('x', 10000) FROM generate_series(1, $2)"""
        await sql.execute(told, maria.id, self.MOST)
        return maria

    @pytest.fixture
    def read(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many rows at a time."""
        read: list[int] = []
        real = notifications.find_after

        async def counted(*arguments: object) -> object:
            rows = await real(*arguments)  # type: ignore[arg-type]
            read.append(len(rows))
            return rows

        monkeypatch.setattr(notifications, "find_after", counted)
        return read

    async def test_no_more_is_read_than_is_taken_and_it_is_given_up(
        self, url: str, maria: Person, container: Container, read: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What fits on the way is sent; the rest stays in the database."""
        monkeypatch.setattr(container.subscribers, "stalled_seconds", 0.5)
        before = REGISTRY.get_sample_value(ENDED, {"reason": "stalled"}) or 0
        with who_does_not_read(url, maria.token) as connection:
            await eventually(lambda: len(container.subscribers) == 1)
            await eventually(lambda: len(container.subscribers) == 0)
            assert sum(read) < self.MOST
            # It is broken off: what had not left the process never will, and there is no end to the answer.
            received = b"".join(iter(partial(connection.recv, 1_000_000), b""))
            assert received.startswith(b"HTTP/1.1 200 ")
            assert not received.endswith(b"0\r\n\r\n")
        assert REGISTRY.get_sample_value(ENDED, {"reason": "stalled"}) == before + 1

    async def test_what_ends_it_does_not_wait_for_it(
        self, url: str, maria: Person, container: Container, read: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(container.subscribers, "stalled_seconds", 3600)
        with who_does_not_read(url, maria.token):
            before = -1
            while before < len(read) or not read:
                before = len(read)
                await asyncio.sleep(0.3)
            assert len(container.subscribers) == 1
            await maria.api.delete("/auth/sessions")
            await eventually(lambda: len(container.subscribers) == 0)


class TestWithoutTheFeed:
    async def test_a_notification_whose_notify_was_lost_is_found(
        self,
        url: str,
        make: Make,
        container: Container,
        sql: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """As if every notification were lost: new notifications and ended access are found by polling."""
        monkeypatch.setattr(subscribers, "POLL_SECONDS", 0.05)
        maria, ana = await make.user(), await make.user()
        async with listening(url, maria.token) as hers, listening(url, ana.token) as other:
            with monkeypatch.context() as silenced:
                silenced.setattr(container.subscribers, "on_change", lambda change: None)
                silenced.setattr(type(container.feed), "has_lease", False)
                silenced.setattr(container.feed, "_listeners", ())
                await notify(sql, maria, "A", "B")
                assert await hers.titles(2) == ["A", "B"]
                await sql.execute("UPDATE sessions SET ended_at = now() WHERE user_id = $1", maria.id)
                assert await reason_of_end(hers) == "revoked"
            await notify(sql, ana, "Goes on")
            assert await other.titles(1) == ["Goes on"]

    async def test_nothing_is_sent_to_a_user_whose_lost_access_was_not_notified(
        self, make: Make, container: Container, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        maria = await make.user()
        monkeypatch.setattr(type(container.feed), "has_lease", False)
        stream = container.subscribers.open(maria.caller, "token", 600)
        await stream.start(0)
        monkeypatch.setattr(container.subscribers, "on_change", lambda change: None)
        await sql.execute("UPDATE users SET is_active = false WHERE id = $1", maria.id)
        await notify(sql, maria, "Not for her any more")
        stream.wake()
        assert await stream.next() is None
        assert stream.ended == "revoked"
        stream.close()

    async def test_when_the_feed_is_back_it_catches_up(
        self,
        url: str,
        make: Make,
        container: Container,
        sql: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(subscribers, "POLL_SECONDS", 3600)
        maria, ana = await make.user(), await make.user()
        async with listening(url, maria.token) as hers, listening(url, ana.token) as other:
            with monkeypatch.context() as silenced:
                silenced.setattr(container.feed, "_listeners", ())
                await notify(sql, maria, "A")
                await sql.execute("UPDATE sessions SET ended_at = now() WHERE user_id = $1", ana.id)
                await make.notification(maria, title="B")
                await asyncio.sleep(0.1)
            await sql.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'tradepost changes' AND datname = current_database()"
            )
            assert await hers.titles(2) == ["A", "B"]
            assert await reason_of_end(other) == "revoked"

    async def test_a_database_that_fails_is_asked_again(
        self,
        url: str,
        make: Make,
        container: Container,
        sql: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(subscribers, "POLL_SECONDS", 0.02)
        real, faults = notifications.find_after, iter([OSError(), OSError()])

        async def failing(*arguments: object) -> object:
            if fault := next(faults, None):
                raise fault
            return await real(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(notifications, "find_after", failing)
        maria = await make.user()
        async with listening(url, maria.token) as stream:
            await notify(sql, maria, "At last")
            assert await stream.titles(1) == ["At last"]


class TestLimits:
    async def test_of_one_user(self, url: str, make: Make, container: Container) -> None:
        maria, ana = await make.user(), await make.user()
        open_ones = [container.subscribers.open(maria.caller, "token", 600) for _ in range(MAX_PER_USER)]
        answer = await maria.api.get("/notifications/stream")
        assert_problem(answer, 429, "too_many_requests")
        assert answer.headers["retry-after"] == "15"
        async with listening(url, ana.token):
            open_ones.pop().close()
            async with listening(url, maria.token):
                assert len(container.subscribers) == MAX_PER_USER + 1
        for stream in open_ones:
            stream.close()

    async def test_of_one_process(
        self, make: Make, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(container.subscribers, "_most", 1)
        maria, ana = await make.user(), await make.user()
        stream = container.subscribers.open(maria.caller, "token", 600)
        assert_problem(await ana.api.get("/notifications/stream"), 503, "overloaded")
        stream.close()

    async def test_none_is_opened_once_the_process_ends(
        self, make: Make, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        maria = await make.user()
        monkeypatch.setattr(container.subscribers, "_stopping", True)
        assert_problem(await maria.api.get("/notifications/stream"), 503, "unavailable")

    async def test_closing_twice_counts_once(self, make: Make, container: Container) -> None:
        maria, before = await make.user(), gauge("token")
        stream = container.subscribers.open(maria.caller, "token", 600)
        stream.close()
        stream.close()
        assert (len(container.subscribers), gauge("token")) == (0, before)

    async def test_streams_hold_no_connection_and_no_place(
        self, url: str, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        """As many as one may have, by more people than there are database connections."""
        people = [await make.user() for _ in range(25)]
        shedding = make.api.app.middleware_stack
        while type(shedding).__name__ != "LoadShedding":
            shedding = shedding.app  # type: ignore[union-attr]
        async with asyncio.timeout(60):
            stack = [listening(url, person.token) for person in people]
            opened = [await each.__aenter__() for each in stack]
            assert (len(container.subscribers), container.database.pool_usage[0]) == (25, 0)
            assert shedding.running == 0  # type: ignore[union-attr]
            for person in people:
                await notify(sql, person, "Hello")
            assert [await stream.titles(1) for stream in opened] == [["Hello"]] * 25
            for each in stack:
                await each.__aexit__(None, None, None)

    async def test_it_is_counted_but_not_as_slow(self, url: str, make: Make) -> None:
        labels = {"method": "GET", "route": f"{V1}/notifications/stream"}

        def observed() -> float:
            return REGISTRY.get_sample_value("http_request_duration_seconds_count", labels) or 0

        maria, at_first = await make.user(), observed()
        with capture_logs() as lines:
            async with listening(url, maria.token):
                await asyncio.sleep(0.01)
            await eventually(lambda: any(line["event"] == "request.answered" for line in lines))
        [line] = [line for line in lines if line["event"] == "request.answered"]
        assert (line["route"], line["status"]) == (labels["route"], 200)
        assert line["duration_ms"] >= 10
        assert REGISTRY.get_sample_value("http_requests_total", {**labels, "status": "200"})
        before = observed()
        assert (await make.api.get("/notifications/stream")).status_code == 401
        # The refusal alone, which is an answer like any other.
        assert (at_first, before, observed()) == (before, before, before + 1)
