"""The worker's loop, on a real queue, with handlers of the tests' own."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from service.container.api import Container
from service.errors import Unavailable
from service.platform.config import Settings
from service.platform.database import Session
from service.platform.jobs.claims import Claims
from service.platform.jobs.kinds import Attempt
from service.platform.jobs.worker import MOST_CLAIMS, backoff
from service.platform.telemetry import request_facts
from service.platform.telemetry.request_facts import RequestFacts
from tests.helpers.waiting import eventually
from tests.platform.jobs.working import LEASE, Noting, emptied, kind, put, working

pytestmark = pytest.mark.usefixtures("sql")


async def rows(sql: asyncpg.Connection) -> list[tuple[Any, ...]]:
    found = await sql.fetch("SELECT status::text, attempts, payload FROM pgqueuer ORDER BY id")
    return [(row["status"], row["attempts"], row["payload"]) for row in found]


def counted(outcome: str, name: str = "test") -> float:
    return REGISTRY.get_sample_value("jobs_total", {"kind": name, "outcome": outcome}) or 0


class Busy:
    """How many run at the same time, at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self, *_: Any) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        await self.may_end.wait()
        self.now -= 1


class TestTaking:
    async def test_a_job_is_done_once_and_gone(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        noting, done = Noting(), counted("done")
        async with working(settings, {"test": kind(noting)}):
            await put(container.database, "test", "first")
            await emptied(sql)
        assert noting.given == [({"name": "first"}, 1)]
        assert counted("done") == done + 1
        states = await sql.fetch("SELECT status::text FROM pgqueuer_log ORDER BY id")
        assert [row["status"] for row in states] == ["queued", "picked", "successful"]

    async def test_what_was_there_before_it(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        noting = Noting()
        await put(container.database, "test", "first", "second")
        async with working(settings, {"test": kind(noting)}):
            await emptied(sql)
        assert noting.names == ["first", "second"]

    async def test_the_first_kind_first_and_in_it_the_highest_priority(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        noting = Noting()
        await put(container.database, "clean_up", "clean-up", priority=100)
        await put(container.database, "webhook", "webhook")
        await put(container.database, "mail", "mail")
        await put(container.database, "mail", "urgent mail", priority=1)
        kinds = {name: kind(noting) for name in ("mail", "webhook", "clean_up")}
        async with working(settings, kinds, at_once=1):
            await emptied(sql)
        assert noting.names == ["urgent mail", "mail", "webhook", "clean-up"]

    async def test_not_before_its_time(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        noting = Noting()
        await put(container.database, "test", "later", delay=timedelta(hours=1))
        await put(container.database, "test", "now")
        async with working(settings, {"test": kind(noting)}):
            await eventually(lambda: noting.given)
            await sql.execute("UPDATE pgqueuer SET execute_after = now()")
            await emptied(sql)
        assert noting.names == ["now", "later"]

    async def test_kinds_that_it_does_not_know_stay(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        noting = Noting()
        await put(container.database, "of_a_later_release", "stays")
        async with working(settings, {"test": kind(noting)}):
            await put(container.database, "test", "goes")
            await eventually(lambda: noting.given)
        assert await rows(sql) == [("queued", 0, b'{"name": "stays"}')]

    async def test_so_many_of_a_kind_at_once(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        slow, noting = Busy(), Noting()
        slow.may_end.clear()
        await put(container.database, "slow", *map(str, range(9)))
        async with working(settings, {"slow": kind(slow, at_once=3), "test": kind(noting)}):
            await eventually(lambda: slow.now == 3)
            await put(container.database, "test", "passes")
            await eventually(lambda: noting.given)
            assert slow.now == 3
            slow.may_end.set()
            await emptied(sql)
        assert slow.most == 3

    async def test_so_many_in_one_worker(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        busy = Busy()
        await put(container.database, "one", *map(str, range(5)))
        await put(container.database, "other", *map(str, range(5)))
        kinds = {"one": kind(busy), "other": kind(busy)}
        async with working(settings, kinds, at_once=2):
            await emptied(sql)
        assert busy.most == 2

    async def test_each_by_one_of_several_workers(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        noting = Noting(lambda *_: asyncio.sleep(0.001))
        async with working(settings, {"test": kind(noting)}), working(settings, {"test": kind(noting)}):
            await put(container.database, "test", *map(str, range(100)))
            await emptied(sql)
        assert sorted(noting.names, key=int) == [str(number) for number in range(100)]


class TestFailing:
    @pytest.mark.parametrize(
        ("fault", "level"),
        [(Unavailable("Not now."), "warning"), (ConnectionResetError(), "warning"), (KeyError("x"), "error")],
    )
    async def test_is_tried_again(
        self,
        container: Container,
        settings: Settings,
        sql: asyncpg.Connection,
        fault: Exception,
        level: str,
    ) -> None:
        def then(_: Mapping[str, Any], attempt: Attempt) -> None:
            if attempt.number < 3:
                raise fault

        noting, put_off = Noting(then), counted("put_off")
        with capture_logs() as lines:
            async with working(settings, {"test": kind(noting)}):
                await put(container.database, "test", "shaky")
                await emptied(sql)
        assert [number for _, number in noting.given] == [1, 2, 3]
        assert counted("put_off") == put_off + 2
        lines = [line for line in lines if line["event"] == "job.attempt_failed"]
        assert [(line["log_level"], line["fault"], line["attempt"]) for line in lines] == [
            (level, type(fault).__name__, 1),
            (level, type(fault).__name__, 2),
        ]

    async def test_fails_in_the_end_and_others_go_on(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        def then(payload: Mapping[str, Any], _: Attempt) -> None:
            if payload["name"] == "bad":
                raise ValueError("bad")

        noting, failed = Noting(then), counted("failed")
        with capture_logs() as lines:
            async with working(settings, {"test": kind(noting, attempts=3)}):
                await put(container.database, "test", "bad", "good")
                await emptied(sql)
        assert noting.names.count("bad") == 3
        assert noting.names.count("good") == 1
        assert await rows(sql) == [("failed", 3, b'{"name": "bad"}')]
        assert counted("failed") == failed + 1
        [line] = [each for each in lines if each["event"] == "job.failed"]
        assert (line["log_level"], line["attempts"], line["reason"]) == (
            "error",
            3,
            "ValueError",
        )

    async def test_an_attempt_that_takes_too_long_is_ended(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        noting = Noting(lambda _, attempt: asyncio.sleep(60 if attempt.number == 1 else 0))
        async with working(settings, {"test": kind(noting, seconds=0.05)}):
            await put(container.database, "test", "slow")
            await emptied(sql)
        assert [number for _, number in noting.given] == [1, 2]

    def test_pauses_double_to_a_limit_and_are_spread(self) -> None:
        for attempt, whole in ((1, 1), (2, 2), (3, 4), (10, 512), (40, 3600)):
            pauses = [backoff(attempt, 3600).total_seconds() for _ in range(50)]
            assert whole / 2 <= min(pauses) < max(pauses) <= whole

    async def test_a_database_that_is_away_for_a_moment(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        """Its own connections alone are ended: the application of the other tests would notice long after."""
        noting = Noting()
        pids = "SELECT array_agg(pid) FROM pg_stat_activity WHERE datname = current_database()"
        others = await sql.fetchval(pids)
        async with working(settings, {"test": kind(noting)}) as worker:
            await eventually(lambda: worker.listening)
            await sql.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> ALL ($1::int[])",
                others,
            )
            await eventually(lambda: not worker.listening)
            await put_when_it_answers(container)
            await emptied(sql)
            await eventually(lambda: worker.listening)
        assert noting.names == ["after"]


async def put_when_it_answers(container: Container) -> None:
    while True:
        try:
            return await put(container.database, "test", "after")
        except Unavailable:
            await asyncio.sleep(0.01)


class TestLostWorkers:
    async def take_and_vanish(self, container: Container, times: int = 1) -> None:
        """Workers that have taken what there is, and were killed."""
        for _ in range(times):
            await Claims(container.database, timedelta(0)).claim({"test": 10}, 10)
            await asyncio.sleep(0.01)

    async def test_their_jobs_are_taken_again(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        noting = Noting()
        await put(container.database, "test", "lost")
        await self.take_and_vanish(container)
        async with working(settings, {"test": kind(noting)}):
            await emptied(sql)
        assert noting.given == [({"name": "lost"}, 2)]

    async def test_while_one_lives_its_jobs_are_its_own(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        noting = Noting(lambda *_: asyncio.sleep(3 * LEASE.total_seconds()))
        async with working(settings, {"test": kind(noting)}), working(settings, {"test": kind(noting)}):
            await put(container.database, "test", "long")
            await emptied(sql)
        assert noting.given == [({"name": "long"}, 1)]

    async def test_what_none_survives_fails_without_another_attempt(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        noting = Noting()
        await put(container.database, "test", "poison")
        await self.take_and_vanish(container, MOST_CLAIMS)
        with capture_logs() as lines:
            async with working(settings, {"test": kind(noting)}):
                await emptied(sql)
        assert noting.given == []
        assert await rows(sql) == [("failed", MOST_CLAIMS + 1, b'{"name": "poison"}')]
        [line] = [each for each in lines if each["event"] == "job.failed"]
        assert (line["attempts"], line["reason"]) == (MOST_CLAIMS, "its workers were lost")

    async def test_what_two_have_not_survived_runs_alone(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        busy = Busy()
        await put(container.database, "test", "one", "two", "three")
        await self.take_and_vanish(container, 2)
        async with working(settings, {"test": kind(busy)}):
            await emptied(sql)
        assert busy.most == 1

    async def test_losses_that_are_over_do_not_count(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        def then(_: Mapping[str, Any], attempt: Attempt) -> None:
            if attempt.number <= MOST_CLAIMS + 2:
                raise Unavailable("Not now.")

        noting = Noting(then)
        await put(container.database, "test", "shaky")
        await self.take_and_vanish(container, 2)
        async with working(settings, {"test": kind(noting)}):
            await emptied(sql)
        assert [number for _, number in noting.given] == list(range(3, MOST_CLAIMS + 4))


class TestEnding:
    async def test_what_runs_is_finished(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        noting = Noting(lambda *_: asyncio.sleep(0.3))
        await put(container.database, "test", "running", "waiting")
        async with working(settings, {"test": kind(noting, at_once=1)}):
            await eventually(lambda: noting.given)
        assert noting.names == ["running"]
        assert await rows(sql) == [("queued", 0, b'{"name": "waiting"}')]

    async def test_what_cannot_be_finished_is_released(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        noting, before = Noting(lambda *_: asyncio.sleep(60)), counted("handed_back")
        hurried = settings.model_copy(update={"graceful_timeout": 1})
        await put(container.database, "test", "long")
        with capture_logs() as lines:
            async with working(hurried, {"test": kind(noting)}):
                await eventually(lambda: noting.given)
        assert await rows(sql) == [("queued", 0, b'{"name": "long"}')]
        assert counted("handed_back") == before + 1
        assert [line["handed_back"] for line in lines if line["event"] == "worker.stopped"] == [1]
        again = Noting()
        async with working(settings, {"test": kind(again)}):
            await emptied(sql)
        assert again.given == [({"name": "long"}, 1)]

    async def test_at_once_when_asked_a_second_time(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        noting = Noting(lambda *_: asyncio.sleep(600))
        await put(container.database, "test", "long")
        async with working(settings, {"test": kind(noting, seconds=600)}) as worker:
            await eventually(lambda: noting.given)
            worker.stop()
        assert await rows(sql) == [("queued", 0, b'{"name": "long"}')]

    async def test_though_a_commit_of_its_own_is_cut_short(
        self, settings: Settings, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As while a standby does not confirm: the outcome is unknown, and that is no reason to go on."""
        real, committing = Session.commit, asyncio.Event()

        async def slow(session: Session) -> None:
            await real(session)
            committing.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(Session, "commit", slow)
        async with asyncio.timeout(60), working(settings, {"test": kind(Noting())}):
            await committing.wait()


class TestOrigin:
    async def test_lines_of_a_job_name_the_request_that_caused_it(
        self, container: Container, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        seen: list[RequestFacts] = []
        noting = Noting(lambda *_: seen.append(request_facts.facts()))

        async def asks() -> None:
            request_facts.begin(RequestFacts("asked-for-1", "own-1", "203.0.113.7"))
            await put(container.database, "test", "caused")

        await asyncio.create_task(asks())
        with capture_logs([merge_contextvars]) as lines:
            async with working(settings, {"test": kind(noting)}):
                await emptied(sql)
        [ended] = [line for line in lines if line["event"] == "job.ended"]
        assert (ended["request_id"], ended["job"], ended["outcome"]) == ("asked-for-1", "test", "done")
        assert seen == [RequestFacts("asked-for-1", "own-1", None)]
