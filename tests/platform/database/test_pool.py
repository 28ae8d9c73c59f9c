"""The connections of a process: how many there are, who gets the next one, and which are not used again."""

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from service.errors import Overloaded
from service.platform.database import pool as module
from service.platform.database.pool import Pool
from tests.helpers.waiting import eventually


class Made:
    """Connects, and counts."""

    def __init__(self, url: str) -> None:
        self.url, self.connections, self.failing = url, list[asyncpg.Connection](), False

    async def __call__(self) -> asyncpg.Connection:
        if self.failing:
            raise ConnectionRefusedError
        connection = await asyncpg.connect(self.url)
        self.connections.append(connection)
        return connection


@pytest.fixture
def made(database_url: str) -> Made:
    return Made(database_url)


@pytest.fixture
async def pool(made: Made) -> AsyncIterator[Pool]:
    """One connection is kept, and another made while it is in use."""
    one = Pool(made, size=1, overflow=1, timeout=60)
    yield one
    assert one.in_use == 0
    await one.close()
    assert all(connection.is_closed() for connection in made.connections)


async def test_the_last_one_used_is_used_next(made: Made) -> None:
    pool = Pool(made, size=3, overflow=0, timeout=60)
    first, second = await pool.acquire(), await pool.acquire()
    pool.release(first)
    pool.release(second)
    assert await pool.acquire() is second
    pool.release(second)
    await pool.close()


async def test_overflow_is_closed_when_it_comes_back(pool: Pool, made: Made) -> None:
    first, second = await pool.acquire(), await pool.acquire()
    assert pool.in_use == 2
    pool.release(first)
    pool.release(second)
    await eventually(lambda: [each.is_closed() for each in made.connections].count(True) == 1)
    assert pool.in_use == 0


async def test_who_waits_first_is_served_first(pool: Pool, made: Made) -> None:
    held = [await pool.acquire(), await pool.acquire()]
    served: list[int] = []

    async def wait(number: int) -> None:
        connection = await pool.acquire()
        served.append(number)
        pool.release(connection)

    waiting = [asyncio.create_task(wait(number)) for number in range(5)]
    await asyncio.sleep(0)
    for connection in held:
        pool.release(connection)
    await asyncio.gather(*waiting)
    assert served == [0, 1, 2, 3, 4]
    assert len(made.connections) == 2


async def test_waiting_ends_with_overloaded(made: Made) -> None:
    pool = Pool(made, size=1, overflow=0, timeout=0.01)
    connection = await pool.acquire()
    with pytest.raises(Overloaded):
        await pool.acquire()
    pool.release(connection)
    assert await pool.acquire() is connection
    pool.release(connection)
    await pool.close()


async def test_a_discarded_one_makes_room_for_who_waits(pool: Pool) -> None:
    first, second = await pool.acquire(), await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    pool.discard(first)
    third = await waiting
    assert first.is_closed()
    assert third is not second
    pool.release(second)
    pool.release(third)


@pytest.mark.parametrize("free", [Pool.release, Pool.discard], ids=["a connection", "a place"])
async def test_who_gives_up_while_being_served_loses_nothing(
    pool: Pool, free: Callable[[Pool, asyncpg.Connection], None]
) -> None:
    """Its turn comes in the moment in which it is cancelled."""
    first, second = await pool.acquire(), await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    free(pool, first)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert pool.in_use == 1
    third = await pool.acquire()
    pool.release(second)
    pool.release(third)


async def test_a_connection_that_cannot_be_made_takes_no_place(pool: Pool, made: Made) -> None:
    made.failing = True
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await pool.acquire()
    made.failing = False
    both = [await pool.acquire(), await pool.acquire()]
    for connection in both:
        pool.release(connection)


async def test_of_many_that_wait_each_is_told_that_none_can_be_made(pool: Pool, made: Made) -> None:
    """A server that has gone away: nobody waits for a place that does not come."""
    held, made.failing = [await pool.acquire(), await pool.acquire()], True
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(5)]
    await asyncio.sleep(0)
    for connection in held:
        pool.discard(connection)
    faults = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(fault) for fault in faults] == [ConnectionRefusedError] * 5


@pytest.mark.parametrize("how", ["expired", "old", "closed"])
async def test_is_not_used_again(pool: Pool, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = await pool.acquire()
    pool.release(connection)
    match how:
        case "expired":
            pool.expire()
        case "old":
            monkeypatch.setattr(module, "RECYCLE_SECONDS", 0.0)
        case "closed":
            connection.terminate()
    another = await pool.acquire()
    assert another is not connection
    assert connection.is_closed()
    monkeypatch.undo()
    pool.release(another)


async def test_one_in_use_is_ended_when_it_comes_back_expired(pool: Pool) -> None:
    connection = await pool.acquire()
    pool.expire()
    pool.release(connection)
    assert connection.is_closed()


async def test_one_in_use_is_ended_when_the_pool_is_closed(made: Made) -> None:
    pool = Pool(made, size=2, overflow=0, timeout=60)
    held, waiting = await pool.acquire(), asyncio.create_task(pool.acquire())
    await pool.close()
    for connection in (held, await waiting):
        pool.release(connection)
    assert [each.is_closed() for each in made.connections] == [True, True]


async def test_one_begun_before_the_others_expired_is_not_used_again(pool: Pool, made: Made) -> None:
    """It may lead to a server that has been demoted meanwhile."""
    making = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    pool.expire()
    connection = await making
    pool.release(connection)
    assert connection.is_closed()
