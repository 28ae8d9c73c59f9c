"""Positions in the event feed over a migration, and over a dump that is restored into another database."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from alembic import command

from service.events.sequencer import sequence_all
from service.platform.config import Settings
from tests.helpers.client import Api, assert_problem
from tests.helpers.events import Follower
from tests.helpers.factories import Make
from tests.migrations.test_migrations import config
from tests.migrations.test_sequenced_changes import dumped, execute, restore, serving
from tests.server.process import cloned_database

BEFORE = "20261201_attribute_index"
ADD = "INSERT INTO events (type, object_id, data) VALUES ('user.erased', {0}, '{{\"id\": {0}}}')"


@pytest.fixture
def empty() -> Iterator[str]:
    with cloned_database(template=None) as url:
        yield url


@pytest.fixture
def url() -> Iterator[str]:
    with cloned_database() as url:
        yield url


async def admin_of(api: Api) -> Api:
    """Each database has administrators of its own."""
    return (await Make(api, api.app.state.container).admin()).api


async def ids(follower: Follower) -> list[int]:
    return [event["data"]["id"] for event in await follower.poll()]


class TestARestoredDump:
    async def test_leads_on_from_every_position(self, settings: Settings, url: str, empty: str) -> None:
        async with serving(settings, url) as api:
            follower = Follower(await admin_of(api))
            await execute(url, ADD.format(1))
            assert await ids(follower) == [1]
            await execute(url, ADD.format(2))  # has no place yet when the dump is made
            dump = dumped(url)
        restore(empty, dump)
        async with serving(settings, empty) as api:
            follower.api = await admin_of(api)
            assert [await ids(follower), await ids(follower)] == [[2], []]
            await execute(empty, ADD.format(3))
            assert [await ids(follower), await ids(follower)] == [[3], []]

    async def test_of_an_earlier_time_refuses_a_position_that_it_has_lost(
        self, settings: Settings, url: str, empty: str
    ) -> None:
        async with serving(settings, url) as api:
            early = Follower(await admin_of(api))
            await execute(url, ADD.format(1))
            await ids(early)
            dump = dumped(url)
            await execute(url, ADD.format(2))
            late = Follower(early.api, after=early.after)
            assert await ids(late) == [2]
        restore(empty, dump)
        async with serving(settings, empty) as api:
            early.api = await admin_of(api)
            await execute(empty, ADD.format(3))
            assert await ids(early) == [3]
            refused = await early.api.get("/events", params={"after": late.after})
            assert_problem(refused, 410, "position_unknown")


class TestTheMigration:
    async def test_the_worker_gives_the_events_that_are_there_their_places(
        self, settings: Settings, empty: str
    ) -> None:
        await asyncio.to_thread(command.upgrade, config(empty), BEFORE)
        for number in (1, 2, 3):
            await execute(empty, ADD.replace("user.erased", "post.published").format(number))
        await asyncio.to_thread(command.upgrade, config(empty), "head")
        async with serving(settings, empty) as api:
            await sequence_all(api.app.state.container.database)
        connection = await asyncpg.connect(empty)
        try:
            found = await connection.fetch("SELECT object_id FROM events ORDER BY sequenced_at")
        finally:
            await connection.close()
        assert [row["object_id"] for row in found] == [1, 2, 3]
