"""What `serve` and `dev` do first outside production: migrate, load the sample, start a worker, and say where
to look once the service is ready.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from ipaddress import ip_address
from typing import Final
from urllib.request import urlopen

from service import accounts
from service.cli import migrate, sample
from service.cli.console import console
from service.cli.database import connected
from service.platform.config import Settings

POLL_SECONDS: Final = 0.3


def prepare(settings: Settings) -> Callable[[], None] | None:
    """Outside production the service migrates by itself, and loads the sample where SAMPLE asks for it.
    Returns what announces that it is ready.
    """
    if settings.environment == "production":
        return None
    migrate.run(settings)
    if settings.sample:
        asyncio.run(sample.load(settings))
    return announcement(settings)


async def _has_account(settings: Settings, email: str) -> bool:
    async with connected(settings) as database, database.transaction() as session:
        return bool(await accounts.get_ids_by_email(session, [email]))


def _is_of_this_machine(host: str) -> bool:
    """Whether only this machine reaches what listens there. Another name than localhost may mean anything."""
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _address(settings: Settings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def wait_until_ready(settings: Settings) -> None:
    """Return once the service beside this process is ready."""
    while True:
        with suppress(OSError), urlopen(f"{_address(settings)}/readyz", timeout=POLL_SECONDS):  # noqa: S310
            return
        time.sleep(POLL_SECONDS)


def announcement(settings: Settings) -> Callable[[], None]:
    """What says where to look, and what strangers may find."""
    address = _address(settings)
    docs = f"  API documentation: {address}/docs" if settings.docs_enabled else ""
    warning = None if _is_of_this_machine(settings.host) else _warning_of_sample(settings)

    def announce() -> None:
        console.print(f"Tradepost: {address}/{docs}", markup=False)
        if warning is not None:
            console.print(warning, style="bold yellow", markup=False)

    return announce


def _warning_of_sample(settings: Settings) -> str | None:
    """No refusal: in a container the service has to listen on all addresses, and its operator decides which
    of them are published.
    """
    try:
        from service.dev.sample_data import ADMINISTRATOR
    except ImportError:
        return None  # The production image cannot load the sample.
    if not asyncio.run(_has_account(settings, ADMINISTRATOR)):
        return None
    return (
        f"WARNING: HOST is {settings.host}: every client that reaches this machine can sign in as"
        f" {ADMINISTRATOR} and as every customer of the sample, with its published password."
        " Leave HOST out to listen on 127.0.0.1 alone, or use a database without the sample (SAMPLE=0)."
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
