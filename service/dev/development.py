"""What development has without being asked: a schema, and the sample business where SAMPLE is set."""

import asyncio
from ipaddress import ip_address

from service.accounts import get_ids_by_email
from service.cli import migrate
from service.dev import sample
from service.dev.local_database import console
from service.platform.config import Settings
from service.platform.database import Database


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


async def _has_sample(settings: Settings) -> bool:
    """Whether it was loaded into this database, now or at some time."""
    connected = Database(migrate.direct_url(settings), settings)
    try:
        async with connected.transaction() as session:
            return bool(await get_ids_by_email(session, [sample.ADMINISTRATOR]))
    finally:
        await connected.close()


def _is_of_this_machine(host: str) -> bool:
    """Whether only this machine reaches what listens there. Another name than localhost may mean anything."""
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def announce(settings: Settings) -> None:
    """Tell a person where to look, and what strangers may find.

    In production nobody looks, and the line would stand among the JSON.
    """
    if settings.environment == "production":
        return
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    address = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    docs = f"  API documentation: {address}/docs" if settings.docs_enabled else ""
    console.print(f"Tradepost: {address}/{docs}", markup=False)
    # No refusal: in a container the service has to listen on all addresses, and whoever runs it decides
    # which of them are published.
    if not _is_of_this_machine(settings.host) and asyncio.run(_has_sample(settings)):
        console.print(
            f"WARNING: HOST is {settings.host}: whoever reaches this machine can sign in as"
            f" {sample.ADMINISTRATOR} and as every customer of the sample, with its published password."
            " Leave HOST out to listen on 127.0.0.1 alone, or use a database without the sample (SAMPLE=0).",
            style="bold yellow",
            markup=False,
        )
