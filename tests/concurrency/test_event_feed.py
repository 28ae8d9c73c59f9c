"""Events that are committed in another order than they were written: a reader of the feed misses none."""

import asyncio
import random
from collections import Counter

import asyncpg

from service.container.api import Container
from service.events.sequencer import sequence_all
from service.platform.config import Settings
from tests.helpers.client import Api
from tests.helpers.events import Follower
from tests.helpers.factories import Make
from tests.helpers.waiting import eventually, until_blocked
from tests.platform.jobs.working import working

WRITERS, ROUNDS, RESTARTS = 32, 6, 0.2
ADD = """INSERT INTO events (type, object_id, data)
         VALUES ('user.erased', $1, jsonb_build_object('id', $1::bigint))"""


async def ids(follower: Follower) -> list[int]:
    return [event["data"]["id"] for event in await follower.poll()]


class TestOrder:
    async def test_what_is_committed_late_comes_late(
        self, make: Make, sql: asyncpg.Connection, database_url: str
    ) -> None:
        follower = Follower((await make.admin()).api)
        late = await asyncpg.connect(database_url)
        try:
            async with late.transaction():
                await late.execute(ADD, 1)
                await sql.execute(ADD, 2)
                assert [await ids(follower), await ids(follower)] == [[2], []]
                mark = follower.after
                await sql.execute(ADD, 3)
                assert await ids(follower) == [3]
            assert await ids(follower) == [1]
        finally:
            await late.close()
        assert await ids(Follower(follower.api)) == [2, 3, 1]
        assert await ids(Follower(follower.api, after=mark)) == [3, 1]

    async def test_what_is_rolled_back_does_not_come(self, make: Make, sql: asyncpg.Connection) -> None:
        follower = Follower((await make.admin()).api)
        writing = sql.transaction()
        await writing.start()
        await sql.execute(ADD, 1)
        await writing.rollback()
        await sql.execute(ADD, 2)
        assert await ids(follower) == [2]

    async def test_one_that_sequences_and_dies_leaves_the_events_to_the_next(
        self, make: Make, sql: asyncpg.Connection, database_url: str
    ) -> None:
        follower = Follower((await make.admin()).api)
        await sql.execute(ADD, 1)
        dying = await asyncpg.connect(database_url)
        await dying.execute("BEGIN")
        await dying.execute("SELECT sequence_events(1000)")
        reading = asyncio.create_task(ids(follower))
        await until_blocked(sql)
        await sql.execute("SELECT pg_terminate_backend($1)", dying.get_server_pid())
        assert await reading == [1]
        assert await ids(follower) == []

    async def test_an_event_that_is_locked_waits_for_no_other(
        self, make: Make, sql: asyncpg.Connection, database_url: str
    ) -> None:
        follower = Follower((await make.admin()).api)
        await sql.execute(ADD, 1)
        other = await asyncpg.connect(database_url)
        try:
            async with other.transaction():
                await other.execute("SELECT FROM events FOR UPDATE")
                await sql.execute(ADD, 2)
                assert await ids(follower) == [2]
            assert await ids(follower) == [1]
        finally:
            await other.close()

    async def test_a_clock_that_goes_back_gives_later_places_all_the_same(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        follower = Follower((await make.admin()).api)
        await sql.execute(ADD, 1)
        await ids(follower)
        await sql.execute("UPDATE events SET sequenced_at = sequenced_at + '1 hour'")
        follower.after = None
        assert await ids(follower) == [1]
        await sql.execute(ADD, 2)
        assert await ids(follower) == [2]
        await sql.execute(ADD, 3)
        async with container.database.transaction() as session:
            # Of what was purged too.
            await session.execute("INSERT INTO event_marks VALUES ('purged', now() + '2 hours')")
        assert await ids(follower) == [3]
        assert await sql.fetchval("SELECT max(sequenced_at) > now() + '119 minutes' FROM events")

    async def test_a_worker_sequences_events_that_no_client_reads(
        self, settings: Settings, sql: asyncpg.Connection
    ) -> None:
        await sql.executemany(ADD, [(number,) for number in range(3)])

        async def sequenced() -> bool:
            return bool(await sql.fetchval("SELECT count(sequenced_at) = 3 FROM events"))

        async with working(settings, {}, sequencers=(sequence_all,)):
            await eventually(sequenced)


class Writers:
    """They hold their transactions open for random times, and note when each began and had been committed."""

    def __init__(self, url: str) -> None:
        self.url, self.random = url, random.Random(7)
        self.committed: dict[int, tuple[float, float]] = {}

    async def write(self, writer: int) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            for number in range(writer * ROUNDS + 1, (writer + 1) * ROUNDS + 1):
                await self._write_one(connection, number)
        finally:
            await connection.close()

    async def _write_one(self, connection: asyncpg.Connection, number: int) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(ADD, number)
        await asyncio.sleep(self.random.uniform(0, 0.05))
        if self.random.random() < 0.1:
            await transaction.rollback()
            return
        await transaction.commit()
        self.committed[number] = began, now()


class Reader:
    """A program that keeps what it has seen together with its position, and is restarted at random."""

    def __init__(self, api: Api, done: asyncio.Event, *, limit: int, wait: int) -> None:
        self.api, self.done, self.limit, self.wait = api, done, limit, wait
        self.after: str | None = None
        self.seen: list[int] = []

    async def read(self) -> None:
        while True:
            follower = Follower(self.api, after=self.after, limit=self.limit)
            found = await follower.poll(wait=0 if self.done.is_set() else self.wait)
            # Kept together: nothing is awaited in between.
            self.after = follower.after
            self.seen += [event["data"]["id"] for event in found]
            if self.done.is_set() and not found:
                return

    async def read_through_restarts(self, seed: int) -> None:
        pauses = random.Random(seed)
        while True:
            task = asyncio.create_task(self.read())
            left = None if self.done.is_set() else pauses.uniform(0, RESTARTS)
            finished, _ = await asyncio.wait((task,), timeout=left)
            if finished:
                return task.result()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_readers_that_are_restarted_see_each_event_once_in_the_order_of_the_commits(
    make: Make, sql: asyncpg.Connection, database_url: str
) -> None:
    ada, done, writers = await make.admin(), asyncio.Event(), Writers(database_url)
    settings = ((100, 0), (3, 0), (7, 1), (100, 1))
    readers = [Reader(ada.api, done, limit=limit, wait=wait) for limit, wait in settings]
    reading = [asyncio.create_task(each.read_through_restarts(seed)) for seed, each in enumerate(readers)]
    await asyncio.gather(*(writers.write(number) for number in range(WRITERS)))
    done.set()
    await asyncio.gather(*reading)

    first = readers[0].seen
    assert Counter(first) == Counter(writers.committed.keys())
    assert [reader.seen for reader in readers] == [first] * len(readers)
    places = await sql.fetch("SELECT object_id FROM events ORDER BY sequenced_at")
    assert [row["object_id"] for row in places] == first
    # None comes after one that was begun when it had been committed.
    latest = 0.0
    for began, ended in (writers.committed[number] for number in first):
        assert ended >= latest
        latest = max(latest, began)
