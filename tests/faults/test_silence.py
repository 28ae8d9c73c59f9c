"""A database that was there and has gone silent: nothing comes back, and nothing is closed."""

import asyncpg
import pytest
from pydantic import SecretStr

from service.platform import database
from service.platform.config import Settings
from tests.conftest import for_sqlalchemy
from tests.helpers.application import app_of
from tests.helpers.client import Api, assert_problem
from tests.helpers.proxy import proxy_before


async def test_a_silent_database_costs_a_503_and_no_hanging_request(
    settings: Settings, database_url: str, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "SILENCE_SECONDS", 0.1)
    with proxy_before(database_url) as (proxy, url):
        given = SecretStr(for_sqlalchemy(url))
        # What is in memory would be answered from there, until the lease lapses.
        update = {"database_url": given, "database_direct_url": given, "response_cache_bytes": 0}
        # Long enough for a statement on a slow machine.
        update |= {"database_statement_timeout": 2}
        app = app_of(settings.model_copy(update=update))
        async with app.router.lifespan_context(app), Api.of(app) as api:
            assert (await api.get("/items/categories")).status_code == 200
            proxy.hang()
            assert_problem(await api.get("/items/categories"), 503, "unavailable")
            proxy.resume()
            assert (await api.get("/items/categories")).status_code == 200
