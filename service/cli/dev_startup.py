"""What `serve` and `dev` do first outside production: migrate, load the sample, say where to look, and start
a worker.
"""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from ipaddress import ip_address

from service import accounts
from service.cli import migrate, sample
from service.cli.console import console
from service.cli.database import connected
from service.platform.config import Settings


def prepare(settings: Settings) -> None:
    """Outside production the service migrates by itself, and loads the sample where SAMPLE asks for it."""
    if settings.environment == "production":
        return
    migrate.run(settings)
    if settings.sample:
        asyncio.run(sample.load(settings))
    announce(settings)


async def _has_account(settings: Settings, email: str) -> bool:
    async with connected(settings) as database, database.transaction() as session:
        return bool(await accounts.get_ids_by_email(session, [email]))


def _is_of_this_machine(host: str) -> bool:
    """Whether only this machine reaches what listens there. Another name than localhost may mean anything."""
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def announce(settings: Settings) -> None:
    """Say where to look, and what strangers may find."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    address = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    docs = f"  API documentation: {address}/docs" if settings.docs_enabled else ""
    console.print(f"Tradepost: {address}/{docs}", markup=False)
    if not _is_of_this_machine(settings.host):
        _warn_of_sample(settings)


def _warn_of_sample(settings: Settings) -> None:
    """No refusal: in a container the service has to listen on all addresses, and its operator decides which
    of them are published.
    """
    try:
        from service.dev.sample_data import ADMINISTRATOR
    except ImportError:
        return  # The production image cannot load the sample.
    if asyncio.run(_has_account(settings, ADMINISTRATOR)):
        console.print(
            f"WARNING: HOST is {settings.host}: every client that reaches this machine can sign in as"
            f" {ADMINISTRATOR} and as every customer of the sample, with its published password."
            " Leave HOST out to listen on 127.0.0.1 alone, or use a database without the sample (SAMPLE=0).",
            style="bold yellow",
            markup=False,
        )


def worker_beside(settings: Settings, *, reload: bool = False) -> AbstractContextManager[None]:
    """In development the service comes with a worker."""
    if settings.environment != "development":
        return nullcontext()
    try:
        from service.dev import worker_supervisor
    except ImportError:
        console.print(
            "No worker runs beside the service: that needs service/dev. Run `tradepost worker` too."
        )
        return nullcontext()
    return worker_supervisor.started(settings, reload=reload)
