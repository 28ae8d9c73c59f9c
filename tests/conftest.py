"""One real PostgreSQL for the run, one database for each test process, real commits.

The database is cloned from a migrated template and emptied after each test by DELETE, because
savepoint tricks would break what is tested: several sessions at once, NOTIFY, reads without a
transaction.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from fastapi import FastAPI

from service.cli import migrate
from service.container.api import Container
from service.dev import embedded
from service.main import create_app
from service.platform.config import Settings
from service.platform.database import change_feed as changes
from tests.helpers.client import Api
from tests.helpers.factories import Make
from tests.helpers.streaming import served
from tests.helpers.waiting import eventually

FOLDER = Path(__file__).parent
URL_VARIABLE = "TRADEPOST_TEST_POSTGRESQL"
TEMPLATE = "tradepost_template"
#: What tests the whole. Coverage counts nothing while these run: that they pass a line does not test it.
OF_THE_WHOLE = {"chart", "contract", "faults", "image", "invariants", "migrations", "pods", "server"}
#: Rate limits that no test reaches; with them failed sign-ins do not slow down either.
PLENTY = "1000000/minute"


def with_database(url: str, name: str) -> str:
    split = urlsplit(url)
    return urlunsplit(split._replace(scheme="postgresql", path=f"/{name}"))


def for_sqlalchemy(url: str) -> str:
    return url.replace("postgresql://", "postgresql+asyncpg://")


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def pytest_configure(config: pytest.Config) -> None:
    """Start the server once, in the process that all others descend from."""
    if URL_VARIABLE in os.environ or config.option.collectonly:
        return
    folder = tempfile.TemporaryDirectory(prefix="tradepost-test-", ignore_cleanup_errors=True)
    server = embedded.start(Path(folder.name), durable=False)
    # The last one added runs first.
    config.add_cleanup(folder.cleanup)
    config.add_cleanup(server.stop)
    config.add_cleanup(lambda: os.environ.__delitem__(URL_VARIABLE))
    os.environ[URL_VARIABLE] = server.url
    asyncio.run(_execute(server.url, f"CREATE DATABASE {TEMPLATE}"))
    migrate.upgrade(for_sqlalchemy(with_database(server.url, TEMPLATE)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Without coverage, whose tracer doubles the CPU time of what runs under it, for tests of the whole.

    pytest-cov's own marker does nothing under xdist: below the measurement that it stops runs another.
    """
    whole = item.path.is_relative_to(FOLDER) and item.path.relative_to(FOLDER).parts[0] in OF_THE_WHOLE
    if not whole or (tracer := sys.gettrace()) is None:
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


@pytest.fixture(scope="session")
def database_url(worker_id: str) -> Iterator[str]:
    """A database of this test process's own, as a plain postgresql:// URL."""
    server, name = os.environ[URL_VARIABLE], f"test_{worker_id}"
    asyncio.run(_execute(server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}"))
    yield with_database(server, name)
    asyncio.run(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        environment="test",
        database_url=for_sqlalchemy(database_url),
        data_dir=tmp_path_factory.mktemp("data"),
        database_pool_size=10,
        database_max_overflow=10,
        # However slow the machine, nobody is turned away while waiting for a connection.
        database_pool_timeout=30,
        rate_limit_default=PLENTY,
        rate_limit_sign_in=PLENTY,
        rate_limit_refresh=PLENTY,
        rate_limit_register=PLENTY,
        rate_limit_reset=PLENTY,
        weather_url="http://127.0.0.1:9/forecast",
        weather_geocoding_url="http://127.0.0.1:9/search",
    )


@pytest.fixture(scope="session")
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    """The application that ships, its lifespan running."""
    application = create_app(settings)
    # Tests keep every CPU busy, and what renders invoices gives way to them.
    invoices = application.state.container.invoices
    invoices.seconds, invoices.process.seconds = 120.0, 121.0
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture(scope="session")
def container(app: FastAPI) -> Container:
    built: Container = app.state.container
    return built


@pytest.fixture(scope="session")
async def tables(sql_connection: asyncpg.Connection) -> list[str]:
    rows = await sql_connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
    )
    return [row["tablename"] for row in rows]


@pytest.fixture(scope="session")
async def sql_connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def sql(sql_connection: asyncpg.Connection, tables: list[str]) -> AsyncIterator[asyncpg.Connection]:
    """A connection that looks at the database from outside; what the test wrote is deleted after it."""
    yield sql_connection
    # Foreign keys are not checked while this is set: the order of the tables does not matter.
    async with sql_connection.transaction():
        await sql_connection.execute("SET LOCAL session_replication_role = replica")
        await sql_connection.execute("; ".join(f"DELETE FROM {table}" for table in tables))


@pytest.fixture
async def api(app: FastAPI, sql: asyncpg.Connection) -> AsyncIterator[Api]:
    """An anonymous client of the application, which remembers nothing of what other tests have deleted."""
    app.state.container.response_cache.clear()
    async with Api.of(app) as client:
        yield client


@pytest.fixture
async def make(api: Api, container: Container) -> Make:
    """Makes users, items, orders and what else a test starts from."""
    return Make(api, container)


@pytest.fixture(scope="session")
async def served_at(app: FastAPI) -> AsyncIterator[str]:
    async with served(app) as url:
        yield url


@pytest.fixture
async def url(served_at: str, container: Container, sql: asyncpg.Connection) -> AsyncIterator[str]:
    """Where it is served; every stream of the test is closed before the database is emptied."""
    yield served_at
    await eventually(lambda: len(container.subscribers) == 0)


@pytest.fixture
async def lease(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a slow machine does not let lapse: without it the database would rightly be asked."""
    monkeypatch.setattr(changes, "LEASE_SECONDS", 60.0)
    changes.mark_committed()
    for _ in range(6_000):
        if await container.feed.sync():
            return
        await asyncio.sleep(0.01)
    pytest.fail("the application hears of no changes")
