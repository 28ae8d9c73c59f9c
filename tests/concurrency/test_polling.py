"""Changes that are committed in another order than they began: a client that polls misses none."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from service.container.api import Container
from service.platform.config import Settings
from service.platform.database import sequenced_changes as changes
from tests.conftest import for_sqlalchemy, with_database
from tests.helpers.application import app_of
from tests.helpers.client import Api
from tests.helpers.factories import Make
from tests.helpers.polling import Poller
from tests.helpers.standby import caught_up, standby
from tests.helpers.waiting import eventually, until_blocked
from tests.platform.jobs.working import working


@asynccontextmanager
async def another(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_change_that_waits_for_a_lock_is_seen_by_the_next_poll(
    api: Api, make: Make, sql: asyncpg.Connection, database_url: str
) -> None:
    chai, staff = await make.item(name="Chai"), await make.admin()
    poller = Poller(api, "/items")
    await poller.poll()
    async with sql.transaction():
        await sql.execute("SELECT FROM items WHERE id = $1 FOR UPDATE", chai.id)
        change = asyncio.create_task(staff.api.patch(f"/items/{chai.id}", json={"price": "19.50"}))
        await until_blocked(sql)
        # Begun later, committed and polled before.
        await make.item(name="Chang")
        assert await poller.names() == ["Chang"]
    assert (await change).status_code == 200
    assert [(item["name"], item["price"]) for item in await poller.poll()] == [("Chai", "19.50")]


async def test_so_does_who_asks_from_the_newest_time_they_have_seen(
    api: Api, make: Make, sql: asyncpg.Connection
) -> None:
    """Without the mark, as clients do that have only read that there is an `updated_at`."""
    chai, staff = await make.item(name="Chai"), await make.admin()
    async with sql.transaction():
        await sql.execute("SELECT FROM items WHERE id = $1 FOR UPDATE", chai.id)
        change = asyncio.create_task(staff.api.patch(f"/items/{chai.id}", json={"price": "19.50"}))
        await until_blocked(sql)
        newest = (await make.item(name="Chang")).updated_at.isoformat()
        await api.get("/items", params={"updated_since": newest})
    assert (await change).status_code == 200
    found = (await api.get("/items", params={"updated_since": newest})).json()
    assert [item["name"] for item in found] == ["Chang", "Chai"]


async def test_a_post_that_waits_for_a_lock_is_seen_by_the_next_poll(
    api: Api, make: Make, sql: asyncpg.Connection
) -> None:
    maria = await make.user()
    first = await make.post(maria, title="One")
    staff, poller = await make.admin(), Poller(api, "/posts")
    await poller.poll()
    async with sql.transaction():
        await sql.execute("SELECT FROM posts WHERE id = $1 FOR UPDATE", first)
        change = asyncio.create_task(staff.api.patch(f"/posts/{first}", json={"title": "I"}))
        await until_blocked(sql)
        await make.post(maria, title="Two")
        assert await poller.names() == ["Two"]
    assert (await change).status_code == 200
    assert await poller.names() == ["I"]


async def test_a_long_write_holds_up_no_poll_and_changes_no_answer(
    api: Api, make: Make, sql: asyncpg.Connection, database_url: str
) -> None:
    chai, poller = await make.item(name="Chai"), Poller(api, "/items")
    async with another(database_url) as long:
        writing = long.transaction()
        await writing.start()
        await long.execute("UPDATE items SET price = 1")
        await make.item(name="Chang")
        assert [await poller.names(), await poller.names()] == [["Chai", "Chang"], []]
        mark = poller.since
        await poller.poll()
        assert poller.since == mark
        await writing.commit()
    assert [item["price"] for item in await poller.poll()] == ["1.00"]
    assert chai.price != 1


async def test_what_is_rolled_back_is_no_change(api: Api, make: Make, sql: asyncpg.Connection) -> None:
    await make.item()
    poller = Poller(api, "/items")
    await poller.poll()
    writing = sql.transaction()
    await writing.start()
    await sql.execute("UPDATE items SET price = 1")
    await writing.rollback()
    assert await poller.poll() == []


async def test_a_committed_change_is_listed_while_another_of_the_same_row_is_uncommitted(
    api: Api, make: Make, sql: asyncpg.Connection, database_url: str
) -> None:
    await make.item()
    poller = Poller(api, "/items")
    await poller.poll()
    await sql.execute("UPDATE items SET price = 2")
    async with another(database_url) as long:
        writing = long.transaction()
        await writing.start()
        await long.execute("UPDATE items SET price = 3")
        assert [item["price"] for item in await poller.poll()] == ["2.00"]
        await writing.commit()
    assert [item["price"] for item in await poller.poll()] == ["3.00"]


async def test_one_that_sequences_and_dies_leaves_the_change_to_the_next(
    api: Api, make: Make, sql: asyncpg.Connection, database_url: str
) -> None:
    poller = Poller(api, "/items")
    await make.item(name="Chai")
    async with another(database_url) as dying:
        await dying.execute("BEGIN")
        await dying.execute("SELECT sequence_changes(1000)")
        polling = asyncio.create_task(poller.names())
        await until_blocked(sql)
        await sql.execute("SELECT pg_terminate_backend($1)", dying.get_server_pid())
    assert await polling == ["Chai"]
    assert await poller.names() == []


async def test_two_that_sequence_at_once_give_each_change_one_place(
    api: Api, make: Make, sql: asyncpg.Connection, database_url: str
) -> None:
    pollers = [Poller(api, "/items") for _ in range(4)]
    seen: list[list[str]] = [[] for _ in pollers]
    done = asyncio.Event()

    async def write(writer: int) -> None:
        for number in range(15):
            await make.item(name=f"{writer}-{number}")

    async def poll(poller: Poller, names: list[str]) -> None:
        while not done.is_set():
            names += await poller.names()
        names += await poller.names()

    polling = [asyncio.create_task(poll(*pair)) for pair in zip(pollers, seen, strict=True)]
    await asyncio.gather(*(write(writer) for writer in range(4)))
    done.set()
    await asyncio.gather(*polling)
    every = sorted(f"{writer}-{number}" for writer in range(4) for number in range(15))
    assert [sorted(names) for names in seen] == [every] * 4
    assert await sql.fetchval("SELECT count(DISTINCT sequenced_at) FROM sequenced_changes") == 60


async def test_a_clock_that_goes_back_gives_later_places_all_the_same(
    api: Api, make: Make, sql: asyncpg.Connection
) -> None:
    poller = Poller(api, "/items")
    chai = await make.item(name="Chai")
    await poller.poll()
    ahead = await sql.fetchval(
        "UPDATE sequenced_changes SET sequenced_at = sequenced_at + '1 hour' RETURNING sequenced_at"
    )
    assert await poller.names() == ["Chai"]
    await (await make.admin()).api.patch(f"/items/{chai.id}", json={"price": "19.50"})
    assert [item["price"] for item in await poller.poll()] == ["19.50"]
    assert await sql.fetchval("SELECT sequenced_at - $1 FROM sequenced_changes", ahead) <= (
        await sql.fetchval("SELECT interval '1 second'")
    )


class TestOfAStandby:
    @pytest.fixture
    def standby_url(self, database_url: str) -> Iterator[str]:
        with standby() as server:
            yield with_database(server, urlsplit(database_url).path.removeprefix("/"))

    @pytest.fixture
    async def copy(self, settings: Settings, sql: asyncpg.Connection, standby_url: str) -> AsyncIterator[Api]:
        """The service on it."""
        given = SecretStr(for_sqlalchemy(standby_url))
        app = app_of(settings.model_copy(update={"database_url": given, "database_direct_url": given}))
        async with app.router.lifespan_context(app), Api.of(app) as api:
            yield api

    @pytest.mark.slow
    async def test_a_poll_answers_and_misses_nothing(
        self, make: Make, container: Container, sql: asyncpg.Connection, standby_url: str, copy: Api
    ) -> None:
        poller = Poller(copy, "/items")
        await make.item(name="Chai")
        await caught_up(sql, standby_url)
        assert await poller.names() == []
        async with container.database.reading() as session:  # as the worker does
            await changes.sequence(session)
        await caught_up(sql, standby_url)
        assert [await poller.names(), await poller.names()] == [["Chai"], []]


async def test_a_worker_sequences_changes_that_no_client_polls(
    make: Make, settings: Settings, sql: asyncpg.Connection
) -> None:
    await make.item(name="Chai")

    async def sequenced() -> bool:
        return bool(await sql.fetchval("SELECT count(*) = 1 FROM sequenced_changes"))

    async with working(settings, {}):
        await eventually(sequenced)
