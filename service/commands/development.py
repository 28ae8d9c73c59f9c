"""What development has without being asked: a PostgreSQL, a schema, and the sample business."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

from service import embedded
from service.commands import migrate, sample
from service.config import Settings
from service.database import Database

SAMPLE_FOLDER = Path("sample")

#: For people; what machines read goes to standard output.
console = Console(stderr=True, highlight=False)


@contextmanager
def database(settings: Settings) -> Iterator[Settings]:
    """The settings with a database: the one they name, or the embedded one, running until the end."""
    if settings.database_url is not None:
        yield settings
        return
    console.print(f"PostgreSQL: starting the embedded one; its data are in {settings.data_dir}/postgres")
    with embedded.start(settings.data_dir) as server:
        url = SecretStr(server.url.replace("postgresql://", "postgresql+asyncpg://", 1))
        yield settings.model_copy(update={"database_url": url, "database_direct_url": url})


def prepare(settings: Settings) -> None:
    """Outside production the service migrates by itself, and loads the sample where SAMPLE asks for it."""
    if settings.environment == "production":
        return
    migrate.run(settings)
    if settings.sample:
        asyncio.run(_load_sample(settings))


async def _load_sample(settings: Settings) -> None:
    connected = Database(migrate.direct_url(settings), settings)
    try:
        await sample.load(connected, settings, console)
    finally:
        await connected.close()
