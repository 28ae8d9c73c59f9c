"""A process that waits for its schema or its database: alive, not ready, and what it says of it."""

import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.platform.config import Settings
from service.platform.database import schema
from service.platform.server.health import startup
from service.platform.server.health.startup import Listener, Startup, StartupRecord
from service.platform.telemetry import repeats
from tests.conftest import for_sqlalchemy
from tests.helpers.application import running
from tests.helpers.client import Api
from tests.helpers.not_ready import NO_SCHEMA, NOW, WAIT, waiting
from tests.helpers.proxy import proxy_before
from tests.helpers.waiting import eventually
from tests.server.process import cloned_database

REFUSED = "nothing listens at this host and port"
READY = (200, {"status": "ready", "database": "up", "draining": False})


@pytest.fixture(autouse=True)
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "POLL_SECONDS", 0.02)


@pytest.fixture
def empty() -> Iterator[str]:
    with cloned_database(template=None) as url:
        yield url


@pytest.fixture
def migrated() -> Iterator[str]:
    with cloned_database() as url:
        yield url


async def set_revision(url: str, revision: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE alembic_version SET version_num = $1", revision)
    await connection.close()


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database has the schema of the build before."""
    monkeypatch.setattr(schema, "required_revision", lambda: ("next", frozenset({NOW})))


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Bound and not listened on, so that no other process can come to answer there."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


def to(url: str) -> dict[str, SecretStr]:
    address = SecretStr(for_sqlalchemy(url))
    return {"database_url": address, "database_direct_url": address}


def nowhere(port: int) -> str:
    return f"postgresql://user:s3cret-word@127.0.0.1:{port}/nothing"


async def asked(api: Api) -> tuple[int, dict[str, Any]]:
    answer = await api.root("/readyz")
    # As long as it is not ready, it asks to come again.
    assert answer.headers.get("retry-after") == (None if answer.is_success else "1")
    return answer.status_code, answer.json()


async def becomes(api: Api, status: int, body: dict[str, Any]) -> None:
    async def is_so() -> bool:
        return await asked(api) == (status, body)

    await eventually(is_so)
    started = await api.root("/startupz")
    assert (started.status_code, started.json()) == (200, {"status": "started"})


class TestReadiness:
    @pytest.mark.usefixtures("old")
    @pytest.mark.parametrize("mode", ["soft", "hard"])
    async def test_at_an_older_schema_both_revisions_are_named(self, settings: Settings, mode: str) -> None:
        async with running(settings, readiness_database=mode) as api:
            cause = f"the schema is at {NOW}, and this build needs next: {WAIT}"
            await becomes(api, 503, waiting(cause, required_revision="next"))

    async def test_a_newer_builds_schema_is_good_too(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a rollout half done, or rolled back: migrations keep the builds before them working."""
        monkeypatch.setattr(schema, "required_revision", lambda: ("before", frozenset()))
        async with running(settings) as api:
            await becomes(api, *READY)

    async def test_before_the_first_migration_it_waits(self, settings: Settings, empty: str) -> None:
        async with running(settings, **to(empty)) as api:
            await becomes(api, 503, waiting(NO_SCHEMA, schema_revision=None, listening=False))

    async def test_without_the_change_feed_it_waits(self, settings: Settings, closed_port: int) -> None:
        """It would serve, but would ask the database at every request who is calling."""
        direct = to(nowhere(closed_port))["database_direct_url"]
        async with running(settings, database_direct_url=direct) as api:
            await becomes(api, 503, waiting(f"DATABASE_DIRECT_URL: {REFUSED}", listening=False))

    async def test_without_a_database_the_cause_is_named_and_no_address(
        self, settings: Settings, closed_port: int
    ) -> None:
        async with running(settings, **to(nowhere(closed_port))) as api:
            body = waiting(f"DATABASE_URL: {REFUSED}", schema_revision=None, listening=False, database="down")
            await becomes(api, 503, body)

    async def test_a_password_that_is_wrong(self, settings: Settings, database_url: str) -> None:
        user, _, rest = database_url.partition("//")[2].partition("@")
        url = f"postgresql://{user.partition(':')[0]}:wrong-Pa55word@{rest}"
        async with running(settings, **to(url)) as api:
            cause = "DATABASE_URL: the user or the password is wrong"
            await becomes(api, 503, waiting(cause, schema_revision=None, listening=False, database="down"))

    @pytest.mark.usefixtures("old")
    async def test_a_pod_that_waits_may_drain_too(self, settings: Settings, tmp_path: Any) -> None:
        flag = tmp_path / "drain"
        flag.touch()
        async with running(settings, drain_file=flag) as api:
            cause = f"the schema is at {NOW}, and this build needs next: {WAIT}"
            await becomes(api, 503, waiting(cause, required_revision="next", draining=True))

    async def test_it_becomes_ready_by_itself_and_stays_so(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch, migrated: str
    ) -> None:
        """Whatever the schema is later, and with or without a database."""
        with proxy_before(migrated) as (proxy, through):
            await set_revision(migrated, "older")
            monkeypatch.setattr(schema, "required_revision", lambda: (NOW, frozenset({"older"})))
            async with running(settings, **to(through)) as api:
                cause = f"the schema is at older, and this build needs {NOW}: {WAIT}"
                await becomes(api, 503, waiting(cause, schema_revision="older"))
                await set_revision(migrated, NOW)
                await becomes(api, *READY)
                await set_revision(migrated, "older")
                assert await asked(api) == READY
                proxy.cut()
                await becomes(api, 200, {"status": "ready", "database": "down", "draining": False})


@contextmanager
def captured() -> Iterator[list[MutableMapping[str, Any]]]:
    """What the start-up logs; other applications of this process have long been ready."""
    lines: list[MutableMapping[str, Any]] = []

    def keep(_logger: object, level: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if line["event"] in {"service.held_up", "worker.held_up", "startup.completed"}:
            assert line.pop("seconds") >= 0
            lines.append({**line, "level": level})
        return line

    with capture_logs([keep]):
        yield lines


class World:
    """What a start-up sees."""

    def __init__(self) -> None:
        self.found: str | Exception | None = None
        self.listens, self.cause, self.polls = False, "", 0

    async def revision(self) -> str | None:
        self.polls += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    @asynccontextmanager
    async def waiting(self, *records: StartupRecord) -> AsyncIterator[list[Startup]]:
        """A process for each record."""
        listener = Listener("DATABASE_DIRECT_URL", lambda: self.listens, lambda: self.cause)
        made = [
            Startup("service.held_up", self.revision, "DATABASE_URL", listener, record) for record in records
        ]
        for each in made:
            await each.start()
        try:
            yield made
        finally:
            for each in made:
                await each.stop()

    async def poll(self, times: int = 20) -> None:
        seen = self.polls
        await eventually(lambda: self.polls >= seen + times)


def line(cause: str, revision: str | None = None) -> dict[str, Any]:
    return {
        "event": "service.held_up",
        "level": "warning",
        "cause": cause,
        "schema_revision": revision,
        "required_revision": NOW,
    }


COMPLETED = {
    "event": "startup.completed",
    "level": "info",
    "schema_revision": NOW,
    "required_revision": NOW,
}
BEHIND = f"the database has no schema yet, and this build needs {NOW}: {WAIT}"


class TestLog:
    async def test_a_cause_is_one_line_of_all_processes_however_long_it_lasts(self) -> None:
        world, record = World(), StartupRecord()
        with captured() as lines:
            async with world.waiting(record, record, record) as processes:
                await world.poll(100)
                assert lines == [line(BEHIND)]
                world.found = ConnectionRefusedError()
                await world.poll(100)
                assert lines == [line(BEHIND), line(f"DATABASE_URL: {REFUSED}")]
                world.found, world.listens = NOW, True
                await eventually(lambda: all(each.has_schema for each in processes))
        assert lines[2:] == [COMPLETED]

    async def test_it_is_repeated_after_some_minutes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(repeats, "REPEAT_SECONDS", 0.2)
        world, record = World(), StartupRecord()
        with captured() as lines:
            async with world.waiting(record):
                await eventually(lambda: len(lines) >= 3)
        assert lines == [line(BEHIND)] * len(lines)
        assert len(lines) < world.polls

    async def test_the_listener_has_a_moment_after_the_migration(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(startup, "LISTENER_POLL_SECONDS", 0.01)
        world, record = World(), StartupRecord()
        world.found, world.cause = NOW, "the user or the password is wrong"
        with captured() as lines:
            async with world.waiting(record) as [process]:
                assert (lines, process.cause) == ([], f"DATABASE_DIRECT_URL: {world.cause}")
                monkeypatch.setattr(startup, "LISTEN_SECONDS", 0.0)
                await eventually(lambda: bool(lines))
        assert lines == [line(f"DATABASE_DIRECT_URL: {world.cause}", NOW)]

    async def test_whatever_goes_wrong_is_asked_again(self) -> None:
        world, record = World(), StartupRecord()
        world.found = RuntimeError("something with a s3cret-word")
        with captured() as lines:
            async with world.waiting(record):
                await world.poll()
                world.found, world.listens = NOW, True
                await eventually(lambda: record.completed)
        assert lines == [line("DATABASE_URL: RuntimeError"), COMPLETED]


class TestRecord:
    def in_a_fork(self, act: Callable[[], object]) -> object:
        """What this returns in a child process, as Gunicorn's workers are."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, json.dumps(act()).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as answer:
            found: object = json.loads(answer.read())
        os.waitpid(child, 0)
        return found

    def test_processes_that_are_forked_share_it(self) -> None:
        announced: list[str] = []
        record = StartupRecord(lambda: announced.append("ready"))
        assert self.in_a_fork(lambda: record.is_due("a"))
        assert not record.is_due("a")
        assert record.is_due("b")
        assert not self.in_a_fork(lambda: record.is_due("b"))
        assert not record.completed
        assert self.in_a_fork(record.complete)
        assert (record.completed, record.complete(), announced) == (True, False, [])
        assert not record.is_due("b")

    def test_a_process_that_is_killed_holds_up_no_other(self) -> None:
        record = StartupRecord()
        child = os.fork()
        if child == 0:
            with record._locked():
                os._exit(0)
        os.waitpid(child, 0)
        assert record.is_due("a")

    def test_the_first_alone_says_that_it_is_ready(self) -> None:
        announced: list[str] = []
        record = StartupRecord(lambda: announced.append("ready"))
        assert [record.complete(), record.complete()] == [True, False]
        assert announced == ["ready"]

    def test_a_disk_that_is_full_later_has_room_for_it(self) -> None:
        record = StartupRecord()
        taken = os.fstat(record._file).st_blocks
        assert taken > 0
        assert record.is_due("the database has no schema yet")
        assert not record.completed
        assert record.complete()
        assert os.fstat(record._file).st_blocks == taken

    def test_it_is_not_lost_where_that_cannot_be_said(self) -> None:
        def fail() -> None:
            raise BrokenPipeError

        record = StartupRecord(fail)
        with pytest.raises(BrokenPipeError):
            record.complete()
        assert record.completed
