"""Workers that are killed at random: every event takes effect, and none twice."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service import events
from service.platform.config import Settings
from service.platform.database import Database
from service.platform.jobs import queue as jobs
from service.platform.jobs.worker import MOST_CLAIMS
from tests.conftest import for_sqlalchemy
from tests.helpers.rows import rows_of
from tests.server.process import REPOSITORY, cloned_database, environment

EFFECTS = """
    CREATE TABLE tried (delivery_id bigint, attempt int);
    CREATE TABLE effects (delivery_id bigint PRIMARY KEY, event_id bigint NOT NULL);
    INSERT INTO webhooks (url, events, secret) VALUES ('https://partner.example/hook', '{*}', '')
"""


class Fleet:
    """Worker processes, each started anew when it has ended."""

    def __init__(self, folder: Path, url: str, size: int, seconds: float = 0.01) -> None:
        self.folder, self.size = folder, size
        self.environment = environment(folder, DATABASE_URL=url, GRACEFUL_TIMEOUT=5, SECONDS=seconds)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.started = self.killed = 0

    def fill(self) -> None:
        self.processes = [process for process in self.processes if process.poll() is None]
        while len(self.processes) < self.size:
            self.started += 1
            with (self.folder / f"worker-{self.started}").open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.faults.killed_worker"],
                    cwd=REPOSITORY,
                    env=self.environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            self.processes.append(process)

    def kill(self, chance: random.Random) -> None:
        process = chance.choice(self.processes)
        if process.poll() is None:
            process.kill()
            process.wait()
            self.killed += 1

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Of all that there have been; the last of one that was killed may be half a line."""
        found = []
        for file in self.folder.glob("worker-*"):
            for line in file.read_text().splitlines():
                with suppress(json.JSONDecodeError):
                    found.append(json.loads(line))
        return [line for line in found if line["event"] == event]


@pytest.fixture
def url() -> Iterator[str]:
    with cloned_database() as url:
        yield url


@contextmanager
def fleet(folder: Path, url: str, size: int, seconds: float = 0.01) -> Iterator[Fleet]:
    workers = Fleet(folder, url, size, seconds)
    try:
        workers.fill()
        yield workers
    finally:
        workers.stop()


async def raise_events(url: str, count: int) -> None:
    """In transactions of different sizes, some of which are rolled back."""
    database = Database(for_sqlalchemy(url), Settings(environment="test", database_url=for_sqlalchemy(url)))
    chance, raised = random.Random(5), 0
    try:
        while raised < count:
            size = min(chance.randint(1, 20), count - raised)
            new = [{"id": raised + number + 1} for number in range(size)]
            async with database.transaction() as session:
                await events.publish_each(session, "item.created", new)
            raised += size
            with suppress(RuntimeError):
                async with database.transaction() as session:
                    await events.publish(session, "item.updated", object_id=raised, data={})
                    raise RuntimeError
    finally:
        await database.close()


async def run(folder: Path, url: str, *, count: int, size: int, seed: int, every: int | None) -> Fleet:
    """Raise the events while workers run, until there is nothing left to do. Whenever about `every` tries
    have been made, one worker is killed at a random moment of its work.
    """
    chance, deadline = random.Random(seed), time.monotonic() + 500
    connection = await asyncpg.connect(url)
    await connection.execute(EFFECTS)
    with fleet(folder, url, size) as workers:
        raising = asyncio.create_task(raise_events(url, count))
        left, next_kill = count, every or sys.maxsize
        while left or not raising.done():
            assert time.monotonic() < deadline, f"{left} jobs are left after {workers.killed} kills"
            await asyncio.sleep(chance.uniform(0.02, 0.1))
            left = await connection.fetchval("SELECT count(*) FROM pgqueuer WHERE status <> 'failed'")
            tried = await connection.fetchval("SELECT count(*) FROM tried")
            if tried >= next_kill:
                workers.kill(chance)
                next_kill = tried + chance.randint(every // 2, every * 3 // 2) if every else sys.maxsize
            workers.fill()
        await raising
    await connection.close()
    return workers


async def assert_each_once(url: str, count: int) -> None:
    assert await rows_of(url, "SELECT count(*) FROM events") == [(count,)]
    assert await rows_of(url, "SELECT count(*), count(DISTINCT event_id) FROM webhook_deliveries") == [
        (count, count)
    ]
    assert await rows_of(url, "SELECT count(*), count(DISTINCT event_id) FROM effects") == [(count, count)]
    assert await rows_of(url, "SELECT event_id FROM effects EXCEPT SELECT id FROM events") == []
    assert await rows_of(url, "SELECT status::text FROM pgqueuer") == []
    [(most,)] = await rows_of(url, "SELECT max(attempt) FROM tried")
    assert most <= MOST_CLAIMS + 1


@pytest.mark.proof
async def test_five_thousand_events_through_three_workers(tmp_path: Path, url: str) -> None:
    workers = await run(tmp_path, url, count=5_000, size=3, seed=1, every=250)
    assert workers.killed >= 10
    await assert_each_once(url, 5_000)
    # It was not for nothing: work was lost with those that were killed, and done again.
    [(tries,)] = await rows_of(url, "SELECT count(*) FROM tried")
    assert tries > 5_000


async def test_some_events_through_two_workers(tmp_path: Path, url: str) -> None:
    workers = await run(tmp_path, url, count=200, size=2, seed=2, every=60)
    assert workers.killed >= 2
    await assert_each_once(url, 200)


@pytest.mark.slow
async def test_a_job_that_kills_its_worker_ends_as_failed_and_the_others_go_on(
    tmp_path: Path, url: str
) -> None:
    database = Database(for_sqlalchemy(url), Settings(environment="test", database_url=for_sqlalchemy(url)))
    async with database.transaction() as session:
        await jobs.enqueue(session, "poison", {})
    await database.close()
    workers = await run(tmp_path, url, count=200, size=1, seed=3, every=None)
    [(kind, status, attempts)] = await rows_of(url, "SELECT entrypoint, status::text, attempts FROM pgqueuer")
    assert (kind, status, attempts) == ("poison", "failed", MOST_CLAIMS + 1)
    [failed] = workers.lines("job.failed")
    assert (failed["job"], failed["attempts"]) == ("poison", MOST_CLAIMS)
    assert await rows_of(url, "SELECT count(*), count(DISTINCT event_id) FROM effects") == [(200, 200)]


async def test_a_worker_that_is_stopped_releases_what_it_cannot_finish(tmp_path: Path, url: str) -> None:
    """Its successor need not wait until it is taken for lost."""
    connection = await asyncpg.connect(url)
    await connection.execute(EFFECTS)
    await raise_events(url, 20)
    with fleet(tmp_path, url, 1, seconds=600) as workers:
        async with asyncio.timeout(60):
            while await rows_of(url, "SELECT count(*) FROM tried") != [(16,)]:  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.02)
        [worker] = workers.processes
        worker.terminate()
        assert await asyncio.to_thread(worker.wait, 30) == 0
    assert await rows_of(url, "SELECT DISTINCT status::text, attempts FROM pgqueuer") == [("queued", 0)]
    assert await rows_of(url, "SELECT count(*) FROM pgqueuer") == [(20,)]
    await connection.close()
