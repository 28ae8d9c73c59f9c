"""The change feed: what is heard, in which order, and for how long what is held may be believed."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from service.container.api import Container
from service.platform.database import change_feed as changes
from service.platform.database.change_feed import CHANNEL, Change, ChangeFeed, ChangeListener
from service.platform.telemetry import repeats
from tests.conftest import for_sqlalchemy
from tests.helpers.factories import Make
from tests.helpers.proxy import Proxy, proxy_before
from tests.helpers.waiting import eventually

PID = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tradepost changes' AND datname = $1"


async def nothing() -> None:
    """For a reader that has nothing to load."""


def change_of(number: int) -> dict[str, str]:
    return {"channel": CHANNEL, "word": json.dumps({"of": "x", "id": number})}


@dataclass
class Listener:
    """A reader that keeps what it hears; `on_load` is what it does while it reads."""

    on_load: Callable[[], Coroutine[Any, Any, None]] = nothing
    heard: list[Change] = field(default_factory=list)
    loads: int = 0
    fails: bool = False

    async def load(self) -> None:
        self.loads += 1
        await self.on_load()

    def on_change(self, change: Change) -> None:
        if self.fails:
            self.fails = False
            raise RuntimeError
        self.heard.append(change)

    @property
    def listener(self) -> ChangeListener:
        return ChangeListener(load=self.load, on_change=self.on_change)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine is no silent database."""
    monkeypatch.setattr(changes, "START_SECONDS", 30.0)
    monkeypatch.setattr(changes, "LEASE_SECONDS", 30.0)


@pytest.fixture
def short_lease(patience: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for before the feed, which is made with it."""
    monkeypatch.setattr(changes, "LEASE_SECONDS", 0.9)


@pytest.fixture
def proxied(database_url: str) -> Iterator[tuple[Proxy, str]]:
    with proxy_before(database_url) as proxied:
        yield proxied


@pytest.fixture
def proxy(proxied: tuple[Proxy, str]) -> Proxy:
    return proxied[0]


@pytest.fixture
def listener() -> Listener:
    return Listener()


@contextmanager
def captured(feed: ChangeFeed) -> Iterator[list[MutableMapping[str, Any]]]:
    """What this feed logs: the application's own goes on beside it, and a slow machine gives it trouble."""
    lines: list[MutableMapping[str, Any]] = []

    def keep(_logger: object, level: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if asyncio.current_task() is feed._task:
            lines.append({**line, "log_level": level})
        return line

    with capture_logs([keep]):
        yield lines


@pytest.fixture
async def feed(
    proxied: tuple[Proxy, str], listener: Listener, container: Container, sql: asyncpg.Connection
) -> AsyncIterator[ChangeFeed]:
    """Not started yet."""
    feed = ChangeFeed(for_sqlalchemy(proxied[1]), (listener.listener,), container.database.notify)
    yield feed
    await feed.stop()


def counted_attempts(monkeypatch: pytest.MonkeyPatch, feed: ChangeFeed) -> list[str]:
    """Grows with each attempt of this feed to connect."""
    attempts, connect = list[str](), asyncpg.connect

    async def counted(*arguments: Any, **options: Any) -> asyncpg.Connection:
        if asyncio.current_task() is feed._task:
            attempts.append("connect")
        return await connect(*arguments, **options)

    monkeypatch.setattr(asyncpg, "connect", counted)
    return attempts


class TestHearing:
    async def test_what_is_committed_in_the_order_of_the_commits(
        self, feed: ChangeFeed, listener: Listener, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, ada = await make.user(), await make.admin()
        await feed.start()
        await ada.api.patch(f"/admin/users/{maria.id}", json={"is_active": False})
        await sql.execute("UPDATE users SET is_admin = NOT is_admin WHERE id = $1", ada.id)
        await sql.execute("UPDATE sessions SET ended_at = now()")
        await eventually(lambda: len(listener.heard) == 4)
        assert listener.heard == [
            # Within one transaction in the order of the statements.
            {"of": "users", "id": maria.id, "is_active": False, "is_admin": False},
            {"of": "sessions", "id": maria.caller.session_id},
            {"of": "users", "id": ada.id, "is_active": True, "is_admin": False},
            {"of": "sessions", "id": ada.caller.session_id},
        ]

    async def test_nothing_of_what_changes_nobodys_access(
        self, feed: ChangeFeed, listener: Listener, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria = await make.user()
        await sql.execute("UPDATE sessions SET ended_at = now()")
        await feed.start()
        async with sql.transaction():
            await sql.execute("UPDATE users SET is_active = is_active, is_admin = false")
            await sql.execute("UPDATE users SET full_name = full_name, version = version + 1")
            await sql.execute("UPDATE sessions SET ended_at = ended_at, last_used_at = now()")
        undone = sql.transaction()
        await undone.start()
        await sql.execute("UPDATE users SET is_active = false")
        await undone.rollback()
        await sql.execute("UPDATE users SET is_admin = true")
        await eventually(lambda: listener.heard != [])
        assert listener.heard == [{"of": "users", "id": maria.id, "is_active": True, "is_admin": True}]


class TestLease:
    async def test_there_is_none_before_the_start_and_after_the_end(
        self, feed: ChangeFeed, listener: Listener
    ) -> None:
        assert not feed.has_lease
        await feed.start()
        assert (feed.has_lease, listener.loads) == (True, 1)
        await feed.stop()
        assert not feed.has_lease

    async def test_what_is_committed_during_the_load_is_received_before_the_lease(
        self, feed: ChangeFeed, listener: Listener, container: Container
    ) -> None:
        async def change() -> None:
            assert not feed.has_lease
            for number in range(50):
                await container.database.notify(CHANNEL, json.dumps({"of": "x", "id": number}))

        listener.on_load = change
        await feed.start()
        await eventually(lambda: feed.has_lease)
        assert [heard["id"] for heard in listener.heard] == list(range(50))

    async def test_it_brings_the_databases_time(self, feed: ChangeFeed, sql: asyncpg.Connection) -> None:
        feed.clock.set(0.0, at=time.monotonic())
        feed.renew_seconds = 0.01
        await feed.start()
        before = await sql.fetchval(changes.RENEWAL)
        assert 0 < before - feed.clock() + 1 < 2
        feed.clock.set(before + 3600, at=time.monotonic())
        await eventually(lambda: feed.clock() < before + 1800)

    async def test_it_counts_from_when_its_question_was_asked(
        self, short_lease: None, feed: ChangeFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Time stands still but between the question and its answer."""
        now = 100.0

        class Clock:
            @staticmethod
            def monotonic() -> float:
                return now

        monkeypatch.setattr(changes, "time", Clock)
        feed.renew_seconds = 3600.0
        real = asyncpg.Connection.fetchval

        async def fetchval(
            connection: asyncpg.Connection, query: str, *arguments: Any, **options: Any
        ) -> Any:
            nonlocal now
            answer = await real(connection, query, *arguments, **options)
            # The application's own feed goes on beside this one, in a task of its own.
            asked_here = query == changes.RENEWAL and asyncio.current_task() is feed._task
            now += 0.5 if asked_here else 0
            return answer

        monkeypatch.setattr(asyncpg.Connection, "fetchval", fetchval)
        await feed.start()
        assert (now, feed.has_lease) == (100.5, True)
        now = 100.899
        assert feed.has_lease
        now = 100.9
        assert not feed.has_lease

    async def test_it_lapses_while_the_connection_is_silent(
        self, short_lease: None, feed: ChangeFeed, listener: Listener, proxy: Proxy, container: Container
    ) -> None:
        await feed.start()
        proxy.hang()
        await eventually(lambda: not feed.has_lease)
        await container.database.notify(CHANNEL, '{"of": "x"}')
        assert listener.heard == []
        proxy.resume()
        await eventually(lambda: feed.has_lease)
        # If it is still the same connection, it has said what it kept back.
        assert listener.loads > 1 or listener.heard == [{"of": "x"}]

    async def test_a_connection_that_stays_silent_is_given_up_and_all_is_read_anew(
        self, short_lease: None, feed: ChangeFeed, listener: Listener, proxy: Proxy
    ) -> None:
        await feed.start()
        proxy.hang()
        with captured(feed) as lines:
            await eventually(lambda: bool(lines))
        assert (feed.has_lease, lines[0]["event"]) == (False, "changes.connection_lost")
        proxy.resume()
        await eventually(lambda: feed.has_lease and listener.loads > 1)

    async def test_an_outage_is_one_line_for_each_cause_and_then_one_every_few_minutes(
        self, feed: ChangeFeed, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(changes, "LONGEST_PAUSE_SECONDS", 0.02)
        await feed.start()
        await eventually(lambda: feed.has_lease)
        attempts = counted_attempts(monkeypatch, feed)
        with captured(feed) as lines:
            proxy.cut()
            await eventually(lambda: len(attempts) >= 20)
            causes = [line["cause"] for line in lines]
            assert {line["event"] for line in lines} == {"changes.connection_lost"}
            assert len(causes) == len(set(causes)) <= 2
            monkeypatch.setattr(repeats, "REPEAT_SECONDS", 0.0)
            await eventually(lambda: len(lines) > len(causes))
            monkeypatch.setattr(repeats, "REPEAT_SECONDS", 300.0)
            proxy.resume()
            await eventually(lambda: feed.has_lease)
        assert (lines[-1]["event"], feed.cause) == ("changes.subscribed", "")

    async def test_before_the_first_lease_nothing_is_lost(
        self, feed: ChangeFeed, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The start-up says what it waits for, by the cause."""
        monkeypatch.setattr(changes, "LONGEST_PAUSE_SECONDS", 0.02)
        attempts = counted_attempts(monkeypatch, feed)
        proxy.cut()
        with captured(feed) as lines:
            await feed.start()
            await eventually(lambda: len(attempts) >= 10)
            assert (lines, feed.cause) == ([], "the connection was lost")
            proxy.resume()
            await eventually(lambda: feed.has_lease)
        assert [line["event"] for line in lines] == ["changes.subscribed"]

    async def test_it_lapses_while_there_is_no_connection(
        self, feed: ChangeFeed, listener: Listener, proxy: Proxy
    ) -> None:
        await feed.start()
        proxy.cut()
        await eventually(lambda: not feed.has_lease)
        await asyncio.sleep(0.3)
        assert not feed.has_lease
        proxy.resume()
        await eventually(lambda: feed.has_lease)
        assert listener.loads == 2

    async def test_a_connection_that_is_ended_is_made_again(
        self, feed: ChangeFeed, listener: Listener, sql: asyncpg.Connection
    ) -> None:
        await feed.start()
        name = await sql.fetchval("SELECT current_database()")
        for row in await sql.fetch(PID, name):
            await sql.execute("SELECT pg_terminate_backend($1)", row["pid"])
        await eventually(lambda: listener.loads == 2 and feed.has_lease)

    async def test_a_slow_database_does_not_delay_the_start(
        self, feed: ChangeFeed, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(changes, "START_SECONDS", 0.05)
        proxy.hang()
        await feed.start()
        assert not feed.has_lease
        proxy.resume()
        await eventually(lambda: feed.has_lease)


class TestCatchingUp:
    async def test_receives_all_that_was_committed_here_before(
        self, feed: ChangeFeed, listener: Listener, container: Container
    ) -> None:
        feed.renew_seconds = 3600.0
        await feed.start()
        assert await feed.sync()
        for number in range(50):
            async with container.database.transaction() as session:
                await session.execute(text("SELECT pg_notify(:channel, :word)"), change_of(number))
            assert not feed.in_sync
            assert (await feed.sync(), feed.in_sync) == (True, True)
            assert [heard["id"] for heard in listener.heard] == list(range(number + 1))

    async def test_a_question_that_was_asked_before_the_commit_does_not_do(
        self, feed: ChangeFeed, listener: Listener, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is answered, and the answer held back while something is committed."""
        feed.renew_seconds = 3600.0
        await feed.start()
        await feed.sync()
        real, asked, go_on = asyncpg.Connection.fetchval, asyncio.Event(), asyncio.Event()

        async def fetchval(
            connection: asyncpg.Connection, query: str, *arguments: Any, **options: Any
        ) -> Any:
            answer = await real(connection, query, *arguments, **options)
            if query == changes.RENEWAL and asyncio.current_task() is feed._task:
                asked.set()
                await go_on.wait()
            return answer

        monkeypatch.setattr(asyncpg.Connection, "fetchval", fetchval)
        changes.mark_committed()
        first = asyncio.create_task(feed.sync())
        await asked.wait()
        async with container.database.transaction() as session:
            await session.execute(text("SELECT pg_notify(:channel, :word)"), change_of(1))
        second = asyncio.create_task(feed.sync())
        await asyncio.sleep(0)
        listener.heard.clear()  # in case it came by itself
        await container.database.notify(CHANNEL, json.dumps({"of": "x", "id": 2}))
        asked.clear()
        go_on.set()
        assert await first
        assert await second
        assert asked.is_set()
        assert {"of": "x", "id": 2} in listener.heard

    async def test_many_at_once_ask_once_or_twice(
        self, feed: ChangeFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        feed.renew_seconds = 3600.0
        await feed.start()
        real, asked = asyncpg.Connection.fetchval, 0

        async def fetchval(
            connection: asyncpg.Connection, query: str, *arguments: Any, **options: Any
        ) -> Any:
            nonlocal asked
            asked += query == changes.RENEWAL and asyncio.current_task() is feed._task
            return await real(connection, query, *arguments, **options)

        monkeypatch.setattr(asyncpg.Connection, "fetchval", fetchval)
        changes.mark_committed()
        assert await asyncio.gather(*(feed.sync() for _ in range(200))) == [True] * 200
        assert asked == 1

    async def test_a_database_that_is_silent_is_not_waited_for_longer_than_the_lease(
        self, short_lease: None, feed: ChangeFeed, proxy: Proxy
    ) -> None:
        await feed.start()
        proxy.hang()
        changes.mark_committed()
        assert not await feed.sync()
        assert not feed.in_sync
        proxy.resume()
        await eventually(lambda: feed.has_lease)

    async def test_before_the_start_and_after_the_end_there_is_nothing_to_wait_for(
        self, feed: ChangeFeed
    ) -> None:
        assert not await feed.sync()
        await feed.start()
        await feed.stop()
        assert not await feed.sync()

    async def test_processes_that_are_forked_learn_of_each_others_commits(self, feed: ChangeFeed) -> None:
        feed.renew_seconds = 3600.0
        await feed.start()
        assert await feed.sync()
        child = os.fork()
        if child == 0:
            changes.mark_committed()
            os._exit(0)
        await asyncio.to_thread(os.waitpid, child, 0)
        assert not feed.in_sync
        assert (await feed.sync(), feed.in_sync) == (True, True)


class TestDeafness:
    async def test_whose_own_word_does_not_come_back_is_not_believed(
        self, proxied: tuple[Proxy, str], listener: Listener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As behind a pooler that hands connections around: queries are answered, and nothing is heard."""
        monkeypatch.setattr(changes, "LEASE_SECONDS", 0.9)

        async def lost(channel: str, payload: str) -> None:
            assert (channel, json.loads(payload)["of"]) == (CHANNEL, "feed")

        feed = ChangeFeed(for_sqlalchemy(proxied[1]), (listener.listener,), lost)
        with captured(feed) as lines:
            await feed.start()
            await eventually(lambda: bool(lines))
        assert (feed.has_lease, listener.loads) == (False, 0)
        assert [(line["event"], line["log_level"]) for line in lines] == [("changes.not_heard", "error")]
        assert "DATABASE_DIRECT_URL" in lines[0]["fault"]
        await feed.stop()

    async def test_a_connection_that_is_lost_meanwhile_is_no_pooler(
        self, proxied: tuple[Proxy, str], listener: Listener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is no fault of the address that its word does not come back."""
        monkeypatch.setattr(changes, "LEASE_SECONDS", 0.9)
        proxy, url = proxied

        async def cut(_channel: str, _payload: str) -> None:
            proxy.cut()

        feed = ChangeFeed(for_sqlalchemy(url), (listener.listener,), cut)
        with captured(feed) as lines:
            await feed.start()
            await eventually(lambda: bool(feed.cause))
        assert (lines, "DATABASE_DIRECT_URL" in feed.cause) == ([], False)
        await feed.stop()

    @pytest.mark.parametrize("payload", ["not JSON", "[]", "5", "{}", '{"of": "feed"}', '{"id": 5}', ""])
    async def test_after_what_cannot_be_read_all_is_read_anew(
        self, feed: ChangeFeed, listener: Listener, container: Container, payload: str
    ) -> None:
        await feed.start()
        with captured(feed) as lines:
            await container.database.notify(CHANNEL, payload)
            await eventually(lambda: any(line["event"] == "changes.not_heard" for line in lines))
        assert not feed.has_lease
        await eventually(lambda: feed.has_lease)
        assert (listener.loads, listener.heard) == (2, [])

    async def test_a_reader_that_fails_is_not_believed_either(
        self, feed: ChangeFeed, listener: Listener, container: Container
    ) -> None:
        await feed.start()
        listener.fails = True
        await container.database.notify(CHANNEL, '{"of": "x"}')
        await eventually(lambda: listener.loads == 2 and feed.has_lease)
        assert listener.heard == []

    async def test_a_load_that_fails_is_logged_and_retried(
        self, feed: ChangeFeed, listener: Listener
    ) -> None:
        async def fail() -> None:
            if listener.loads == 1:
                raise RuntimeError

        listener.on_load = fail
        with captured(feed) as lines:
            await feed.start()
            await eventually(lambda: feed.has_lease)
        assert lines[0]["event"] == "changes.failed"
        assert listener.loads == 2

    async def test_words_of_other_processes_are_nobodys_change(
        self, feed: ChangeFeed, listener: Listener, container: Container
    ) -> None:
        await feed.start()
        await container.database.notify(CHANNEL, '{"of": "feed", "word": "of another"}')
        await container.database.notify(CHANNEL, '{"of": "x"}')
        await eventually(lambda: listener.heard != [])
        assert (listener.heard, listener.loads) == ([{"of": "x"}], 1)
