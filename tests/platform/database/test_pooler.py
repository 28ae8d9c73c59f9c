"""What a session would set, where a pooler in transaction mode stands before the database."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from unittest.mock import AsyncMock
from urllib.parse import urlsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from service.errors import Unavailable
from service.platform.config import Settings
from service.platform.database import Database, connections, pooler, session_settings
from service.platform.database.pooler import LOAD_TRIGRAMS, lacking_defaults
from tests.conftest import for_sqlalchemy
from tests.server.process import cloned_database, statement


@pytest.fixture
def database() -> Iterator[str]:
    """Of a role that may do no more than a shop's, with pg_trgm where it is not found by itself."""
    with cloned_database(template=None) as url:
        parts = urlsplit(url)
        name = parts.path[1:]
        role = f"shop_{name}"
        statement(
            url,
            f"CREATE ROLE {role} LOGIN PASSWORD 'of-tests'",
            f"ALTER DATABASE {name} OWNER TO {role}",
            "CREATE SCHEMA extensions",
            "CREATE EXTENSION pg_trgm SCHEMA extensions",
            f"GRANT USAGE ON SCHEMA extensions TO {role}",
        )
        yield parts._replace(netloc=f"{role}:of-tests@{parts.hostname}:{parts.port}").geturl()
    statement(parts._replace(path="/postgres").geturl(), f"DROP ROLE {role}")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


class TestAddress:
    @pytest.mark.parametrize(
        ("given", "through"),
        [
            ("u:p%40@h1,h2/d?target_session_attrs=any&ssl=require", "u:p%40@pooler:6432/d?ssl=require"),
            ("u:p@h/d", "u:p@pooler:6432/d"),
            ("/d?host=%2Frun%2Fpostgresql", "pooler:6432/d"),
            ("u@[::1]:5432/d", "u@pooler:6432/d"),
        ],
    )  # fmt: skip
    def test_all_but_the_host_stays(self, given: str, through: str) -> None:
        url = connections.through_pooler(f"postgresql+asyncpg://{given}", "pooler:6432")
        assert url == f"postgresql+asyncpg://{through}"


class TestDefaults:
    async def test_a_role_that_runs_the_statements_lacks_none(
        self, database: str, settings: Settings
    ) -> None:
        wanted = session_settings(settings)
        async with connected(database) as plain:
            lacking = await lacking_defaults(plain, wanted)
            assert lacking.keys() == wanted.keys() | {"search_path"}
            role = urlsplit(database).username
            assert lacking["statement_timeout"].endswith(" SET statement_timeout = '5000'")
            assert lacking["statement_timeout"].startswith(f"ALTER ROLE {role} IN DATABASE ")
            # The schema of the extension comes first of all: without it, its functions are not found.
            await plain.execute(lacking["search_path"])
        async with connected(database) as again:
            for text in (LOAD_TRIGRAMS, *lacking.values()):
                await again.execute(text)
        async with connected(database) as given:
            assert await lacking_defaults(given, wanted) == {}
            assert await given.fetchval("SHOW statement_timeout") == "5s"
            assert await given.fetchval("SELECT 'Chocolade' %> 'choklade'") is True

    async def test_what_lacks_is_logged_once(self, database_url: str, settings: Settings) -> None:
        """Here the server itself stands in for the pooler: it takes what it is given, which is nothing."""
        parts = urlsplit(database_url)
        update = {"database_pooler": f"{parts.hostname}:{parts.port}"}
        pooled = Database(for_sqlalchemy(database_url), settings.model_copy(update=update), pooled=True)
        try:
            with capture_logs() as logs:
                async with pooled.reading() as first, pooled.reading() as second:
                    assert await first.value("SHOW statement_timeout") == "0"
                    assert await second.value("SELECT CAST('{\"a\": 1}' AS jsonb)") == {"a": 1}
        finally:
            await pooled.close()
        assert [line["event"] for line in logs] == ["database.role_defaults_missed"]
        assert logs[0]["settings"] == sorted(session_settings(settings))

    async def test_what_lacks_is_logged_although_the_pooler_died_at_first(
        self, database_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ask = AsyncMock(side_effect=[ConnectionResetError, {"jit": "ALTER ROLE"}])
        monkeypatch.setattr(pooler, "lacking_defaults", ask)
        parts = urlsplit(database_url)
        update = {"database_pooler": f"{parts.hostname}:{parts.port}"}
        pooled = Database(for_sqlalchemy(database_url), settings.model_copy(update=update), pooled=True)
        try:
            with pytest.raises(Unavailable):
                await pooled.ping()
            with capture_logs() as logs:
                await pooled.ping()
        finally:
            await pooled.close()
        assert [(line["event"], line["settings"]) for line in logs] == [
            ("database.role_defaults_missed", ["jit"])
        ]

    async def test_other_processes_go_past_it(self, database_url: str, settings: Settings) -> None:
        update = {"database_pooler": "nowhere.invalid:6432"}
        direct = Database(for_sqlalchemy(database_url), settings.model_copy(update=update))
        try:
            async with direct.reading() as session:
                assert await session.value("SHOW statement_timeout") == "5s"
        finally:
            await direct.close()


class TestMigrations:
    async def test_they_may_take_long_whatever_the_roles_defaults_are(
        self, database: str, settings: Settings
    ) -> None:
        name = urlsplit(database).path[1:]
        async with connected(database) as plain:
            await plain.execute(f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET statement_timeout = '5000'")
        engine = connections.engine(for_sqlalchemy(database))
        try:
            async with engine.connect() as connection:
                shown = await connection.exec_driver_sql("SHOW statement_timeout")
                assert shown.scalar() == "0"
        finally:
            await engine.dispose()
