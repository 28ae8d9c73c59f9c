"""Marks of polls over a migration, and over a dump that is restored into another database."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from alembic import command
from pydantic import SecretStr

from service.dev import embedded
from service.platform.config import Settings
from tests.conftest import for_sqlalchemy
from tests.helpers.application import app_of
from tests.helpers.client import Api
from tests.helpers.polling import Poller
from tests.migrations.test_migrations import config
from tests.server.process import cloned_database

BEFORE = "20261129_mailbox_limit"


@pytest.fixture
def empty() -> Iterator[str]:
    with cloned_database(template=None) as url:
        yield url


@pytest.fixture
def url() -> Iterator[str]:
    with cloned_database() as url:
        yield url


@asynccontextmanager
async def serving(settings: Settings, url: str) -> AsyncIterator[Api]:
    given = SecretStr(for_sqlalchemy(url))
    app = app_of(settings.model_copy(update={"database_url": given, "database_direct_url": given}))
    async with app.router.lifespan_context(app), Api.of(app) as api:
        yield api


async def execute(url: str, query: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(query)
    finally:
        await connection.close()


def restore(url: str, dump: bytes) -> None:
    program = embedded._binaries() / "psql"
    subprocess.run(
        [program, "-q", "-v", "ON_ERROR_STOP=1", url], input=dump, check=True, stdout=subprocess.DEVNULL
    )


def dumped(url: str) -> bytes:
    return subprocess.run([embedded._binaries() / "pg_dump", url], check=True, capture_output=True).stdout


ADD = "INSERT INTO items (sku, name, price) VALUES ('{0}', '{0}', 1)"


class TestARestoredDump:
    async def test_leads_on_from_every_mark(self, settings: Settings, url: str, empty: str) -> None:
        async with serving(settings, url) as api:
            poller = Poller(api, "/items")
            await execute(url, ADD.format("Chai"))
            assert await poller.names() == ["Chai"]
            await execute(url, ADD.format("Chang"))  # has no place yet when the dump is made
            dump = dumped(url)
        restore(empty, dump)
        async with serving(settings, empty) as api:
            poller.api = api
            assert [await poller.names(), await poller.names()] == [["Chang"], []]
            await execute(empty, "UPDATE items SET price = 2 WHERE name = 'Chai'")
            assert [await poller.names(), await poller.names()] == [["Chai"], []]

    async def test_of_an_earlier_time_gives_no_place_twice(
        self, settings: Settings, url: str, empty: str
    ) -> None:
        """What was polled after the dump is lost; what is changed after the restore is not."""
        async with serving(settings, url) as api:
            poller = Poller(api, "/items")
            await execute(url, ADD.format("Chai"))
            await poller.poll()
            dump = dumped(url)
            await execute(url, ADD.format("Lost"))
            assert await poller.names() == ["Lost"]
        restore(empty, dump)
        async with serving(settings, empty) as api:
            poller.api = api
            await execute(empty, ADD.format("New"))
            assert [await poller.names(), await poller.names()] == [["New"], []]


class TestTheMigration:
    async def test_gives_what_is_there_its_place_by_its_time(self, settings: Settings, empty: str) -> None:
        def migrate(revision: str) -> None:
            command.upgrade(config(empty), revision)

        await asyncio.to_thread(migrate, BEFORE)
        await execute(
            empty,
            "INSERT INTO items (sku, name, price, updated_at, is_active) VALUES"
            " ('1', 'Two', 1, '2026-01-01T10:00:00Z', true), ('2', 'Three', 1, '2026-01-01T10:00:00Z', true),"
            " ('3', 'Four', 1, '2026-01-01T10:00:00.000001Z', true),"
            " ('4', 'One', 1, '2025-01-01T10:00:00Z', true),"
            " ('5', 'Hidden', 1, '2026-01-01T10:00:00Z', false)",
        )
        await asyncio.to_thread(migrate, "head")
        async with serving(settings, empty) as api:
            everything = Poller(api, "/items", limit=2)
            assert [await everything.names() for _ in range(3)] == [["One", "Two"], ["Three", "Four"], []]
            assert await Poller(api, "/items", since="2026-01-01T11:00:00+01:00").names() == [
                "Two",
                "Three",
                "Four",
            ]
            assert await Poller(api, "/items", since="2026-01-01T10:00:01Z").names() == []
            assert await Poller(api, "/items").removed() == []
