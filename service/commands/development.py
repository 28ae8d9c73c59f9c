"""What development has without being asked: a schema, and the sample business where SAMPLE is set."""

import asyncio

from service.commands import migrate, sample
from service.commands.local_database import console
from service.config import Settings
from service.database import Database


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


def announce(settings: Settings) -> None:
    """Tell a person where to look. In production nobody does, and the line would stand among the JSON."""
    if settings.environment == "production":
        return
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    address = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    docs = f"  API documentation: {address}/docs" if settings.docs_enabled else ""
    console.print(f"Tradepost: {address}/{docs}", markup=False)
