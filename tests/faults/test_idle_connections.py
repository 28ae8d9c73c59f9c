"""Connections that the server or a pooler has closed while they were idle: what had not begun is begun
again, and nothing is done twice.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import asyncpg
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from service.platform.config import Settings
from tests.conftest import for_sqlalchemy
from tests.helpers.application import app_of
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Machine, Make
from tests.helpers.proxy import Proxy, proxy_before

Closing = Callable[[], Awaitable[None]]


@pytest.fixture
def proxy(database_url: str) -> Iterator[tuple[Proxy, str]]:
    with proxy_before(database_url) as found:
        yield found


@pytest.fixture
async def shop(
    settings: Settings, proxy: tuple[Proxy, str], sql: asyncpg.Connection
) -> AsyncIterator[FastAPI]:
    """Without memory and without the change feed, every request asks the database who is calling, too."""
    given, direct = (
        SecretStr(for_sqlalchemy(proxy[1])),
        SecretStr(for_sqlalchemy("postgresql://127.0.0.1:9/x")),
    )
    update = {"database_url": given, "database_direct_url": direct, "response_cache_bytes": 0}
    app = app_of(settings.model_copy(update=update))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture(params=["terminated", "reset", "closed at the first word"])
def close(request: pytest.FixtureRequest, proxy: tuple[Proxy, str], sql: asyncpg.Connection) -> Closing:
    async def terminated() -> None:
        await sql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    async def reset() -> None:
        proxy[0].reset()

    async def spoilt() -> None:
        proxy[0].spoil()

    closings = {"terminated": terminated, "reset": reset, "closed at the first word": spoilt}
    return closings[request.param]


@pytest.fixture
async def shop_make(shop: FastAPI) -> AsyncIterator[Make]:
    async with Api.of(shop) as api:
        yield Make(api, shop.state.container)


async def test_no_client_notices(shop_make: Make, close: Closing, sql: asyncpg.Connection) -> None:
    chai, maria = await shop_make.item(stock=5), await shop_make.user()
    machine: Machine = await shop_make.key("orders:read")
    body = {"product_id": chai.id, "quantity": 1}

    async def asked(api: Api, method: str, path: str, **options: object) -> int:
        await close()
        return (await api.request(method, path, **options)).status_code  # type: ignore[arg-type]

    assert await asked(shop_make.api, "GET", f"/items/{chai.id}") == 200
    assert await asked(shop_make.api, "GET", "/items?updated_since=1970-01-01T00:00:00Z") == 200
    assert await asked(maria.api, "GET", "/users/profile") == 200
    assert await asked(machine.api, "GET", "/orders") == 200
    assert await asked(maria.api, "POST", "/orders", json=body) == 201
    assert await asked(maria.api, "GET", f"/dashboard/{maria.id}") == 200
    form = {"grant_type": "password", "username": maria.email, "password": "correct-horse-1"}
    assert await asked(shop_make.api, "POST", "/auth/token", data=form) == 200
    assert await sql.fetchval("SELECT quantity FROM stock WHERE item_id = $1", chai.id) == 4


@pytest.fixture
async def dying_orders(sql: asyncpg.Connection) -> AsyncIterator[None]:
    """The connection of an order is lost when something has been done on it already."""
    await sql.execute(
        "CREATE SEQUENCE tries;"
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM nextval('tries'); PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;"
        "CREATE TRIGGER die BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION die()"
    )
    yield
    await sql.execute("DROP TRIGGER die ON orders; DROP FUNCTION die; DROP SEQUENCE tries")


@pytest.mark.usefixtures("dying_orders")
async def test_what_had_begun_is_not_begun_again(shop_make: Make, sql: asyncpg.Connection) -> None:
    chai, maria = await shop_make.item(stock=5), await shop_make.user()
    answer = await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
    assert_problem(answer, 503, "unavailable")
    assert await sql.fetchval("SELECT last_value FROM tries") == 1
    assert await sql.fetchval("SELECT quantity FROM stock WHERE item_id = $1", chai.id) == 5


async def test_where_the_database_is_down_it_is_tried_once_more_and_no_longer(
    shop_make: Make, proxy: tuple[Proxy, str]
) -> None:
    await shop_make.api.get("/items/categories")
    proxy[0].cut()
    assert_problem(await shop_make.api.get("/items/categories"), 503, "unavailable")
    proxy[0].resume()
    assert (await shop_make.api.get("/items/categories")).status_code == 200


@pytest.mark.parametrize("state", ["25P02", "25P03", "26000", "57P01", "57P05", "08006", "53300"])
async def test_each_state_of_a_spoilt_connection_is_a_503(
    shop_make: Make, sql: asyncpg.Connection, state: str
) -> None:
    maria = await shop_make.user()
    await sql.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'no such luck' USING ERRCODE = '{state}'; END $$;"
        "CREATE TRIGGER fail BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    try:
        answer = await maria.api.post("/posts", json={"title": "News", "body": "Chai."})
        assert "luck" not in json.dumps(assert_problem(answer, 503, "unavailable"))
    finally:
        await sql.execute("DROP TRIGGER fail ON posts; DROP FUNCTION fail")
    assert (await maria.api.post("/posts", json={"title": "News", "body": "Chai."})).status_code == 201
