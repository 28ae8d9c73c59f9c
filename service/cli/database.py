"""The database that a command works on: the one that is set, or in development an embedded one."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from pydantic import SecretStr

from service.cli import dev_only
from service.errors import ConfigError
from service.platform.config import Settings
from service.platform.database import Database

#: The error of commands that need the schema and do not migrate.
NO_SCHEMA: Final = "The database lacks the tables of this build: run `tradepost migrate` first."
_MISSING: Final = "DATABASE_URL: is missing; write postgresql://user:password@host:5432/name"


@contextmanager
def database(settings: Settings) -> Iterator[Settings]:
    """The settings with a database: the one they name, or the embedded one, which runs until the end."""
    if settings.database_url is not None:
        yield settings
        return
    with dev_only.required("Set DATABASE_URL to use a PostgreSQL of your own: the embedded one"):
        from service.cli.console import console
        from service.dev import embedded
    console.print(f"PostgreSQL: starting the embedded one; its data are in {settings.data_dir}/postgres")
    with embedded.start(settings.data_dir) as server:
        url = SecretStr(server.url.replace("postgresql://", "postgresql+asyncpg://", 1))
        yield settings.model_copy(update={"database_url": url, "database_direct_url": url})


def direct_url(settings: Settings) -> str:
    """The address past any pooler: migrations hold a session's lock."""
    url = settings.database_direct_url or settings.database_url
    if url is None:
        raise ConfigError((_MISSING,))
    return url.get_secret_value()


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Database]:
    """Connections past any pooler, closed at the end."""
    database = Database(direct_url(settings), settings)
    try:
        yield database
    finally:
        await database.close()
