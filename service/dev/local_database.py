"""The database that a command works on: the one that is set, or the embedded one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pydantic import SecretStr
from rich.console import Console

from service.dev import embedded
from service.platform.config import Settings

#: What a command says that neither migrates nor can work without.
NO_SCHEMA: Final = "The database lacks the tables of this build: run `tradepost migrate` first."
#: For people; what machines read goes to standard output.
console = Console(stderr=True, highlight=False, soft_wrap=True)


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
