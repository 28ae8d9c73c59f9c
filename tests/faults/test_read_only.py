"""A database that takes no changes any longer, as a primary that has been demoted, and takes them again."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from service.container.api import Container
from service.platform.config import Settings
from service.platform.jobs import queue as jobs
from tests.conftest import for_sqlalchemy
from tests.helpers.application import app_of
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make
from tests.helpers.waiting import eventually
from tests.platform.jobs.working import Noting, kind, working
from tests.server.process import cloned_database

NEWS = {"title": "News", "body": "Chai is back."}


@pytest.fixture
def url() -> Iterator[str]:
    with cloned_database() as url:
        yield url


@pytest.fixture
async def operator(url: str) -> AsyncIterator[asyncpg.Connection]:
    """To whom nothing applies that is set for the database."""
    connection = await asyncpg.connect(url, server_settings={"default_transaction_read_only": "off"})
    yield connection
    await connection.close()


@pytest.fixture
def own(settings: Settings, url: str) -> Settings:
    given = SecretStr(for_sqlalchemy(url))
    return settings.model_copy(update={"database_url": given, "database_direct_url": given})


@pytest.fixture
async def shop(own: Settings) -> AsyncIterator[FastAPI]:
    app = app_of(own)
    async with app.router.lifespan_context(app):
        yield app


async def demote(operator: asyncpg.Connection) -> None:
    """New connections take no changes, and those that are there are as they were: at the next statement
    each session is told. So it is with a primary that becomes a standby without a restart.
    """
    name = await operator.fetchval("SELECT current_database()")
    await operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await cut(operator)


async def promote(operator: asyncpg.Connection) -> None:
    """Connections that are there stay read-only, as those that lead to the old primary do."""
    name = await operator.fetchval("SELECT current_database()")
    await operator.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")


async def cut(operator: asyncpg.Connection) -> None:
    await operator.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@asynccontextmanager
async def staff_of(app: FastAPI) -> AsyncIterator[Api]:
    async with Api.of(app) as api:
        yield (await Make(api, app.state.container).admin()).api


async def test_a_change_is_503_reads_go_on_and_it_recovers_by_itself(
    shop: FastAPI, operator: asyncpg.Connection
) -> None:
    async with staff_of(shop) as staff:
        post = (await staff.post("/posts", json=NEWS)).json()["id"]
        await demote(operator)
        for _ in range(3):
            answer = await staff.post("/posts", json=NEWS)
            problem = assert_problem(answer, 503, "unavailable")
            assert answer.headers["retry-after"] == "1"
            assert problem["detail"] == "The service cannot save changes at the moment. Try again shortly."
        assert (await staff.get(f"/posts/{post}")).status_code == 200
        await promote(operator)
        # At once: the connection that met it was given up with all that were made before.
        assert (await staff.post("/posts", json=NEWS)).status_code == 201
        assert await operator.fetchval("SELECT count(*) FROM posts") == 2


async def readiness(app: FastAPI) -> tuple[int, str]:
    async with Api.of(app) as api:
        answer = await api.root("/readyz")
        return answer.status_code, answer.json()["database"]


@pytest.mark.parametrize(("mode", "status"), [("soft", 200), ("hard", 503)])
async def test_readiness_says_so_and_counts_on_it_in_mode_hard(
    own: Settings, operator: asyncpg.Connection, mode: str, status: int
) -> None:
    app = app_of(own.model_copy(update={"readiness_database": mode}))
    async with app.router.lifespan_context(app):
        await becomes(app, (200, "up"))
        await demote(operator)
        await becomes(app, (status, "read_only"))
        await promote(operator)
        await becomes(app, (200, "up"))


async def becomes(app: FastAPI, wanted: tuple[int, str]) -> None:
    """An answer is told again for a moment."""

    async def told() -> bool:
        return await readiness(app) == wanted

    await eventually(told)


async def test_caches_are_bypassed_until_the_feed_is_back(
    shop: FastAPI, operator: asyncpg.Connection
) -> None:
    """A demoted primary answers queries and hears of no change."""
    feed = shop.state.container.feed
    await eventually(lambda: feed.has_lease)
    await demote(operator)
    await eventually(lambda: not feed.has_lease)
    await promote(operator)
    await eventually(lambda: feed.has_lease)


async def test_jobs_wait_and_are_done_when_it_takes_changes_again(
    own: Settings, shop: FastAPI, operator: asyncpg.Connection
) -> None:
    container: Container = shop.state.container
    noting = Noting()

    async def enqueue(name: str) -> None:
        async with container.database.transaction() as session:
            await jobs.enqueue(session, "test", {"name": name})

    async with working(own, {"test": kind(noting)}):
        await enqueue("before")
        await eventually(lambda: noting.names == ["before"])
        await demote(operator)
        async with operator.transaction():
            await operator.execute(
                "INSERT INTO pgqueuer"
                " (priority, entrypoint, payload, status, created, updated, execute_after)"
                " VALUES (0, 'test', '{\"name\": \"during\"}', 'queued', now(), now(), now())"
            )
        await asyncio.sleep(2)
        assert noting.names == ["before"]
        await promote(operator)
        await eventually(lambda: noting.names == ["before", "during"])
