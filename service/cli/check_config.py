"""Say whether the service would start with this configuration, before it is rolled out."""

import asyncio
import sys
from typing import Final

from service.errors import ConfigError
from service.platform.config import EXIT_CONFIG, Settings, describe, load_settings
from service.platform.database import connections

#: EX_UNAVAILABLE of sysexits.h.
EXIT_UNAVAILABLE: Final = 69
CONNECT_SECONDS: Final = 10.0


def run(connect: bool = False) -> int:
    """Print the effective settings, secrets masked, or every fault; 78 as `serve` would exit.

    With `connect` 69 where a database's address does not work.
    """
    try:
        settings = load_settings()
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        count = len(error.faults)
        print(f"Configuration is not valid: {count} fault{'s' * (count != 1)}", file=sys.stderr)
        return EXIT_CONFIG
    rows = describe(settings)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}".replace("\n", "\n" + " " * (width + 2)))
    print("Configuration is valid")
    return asyncio.run(_connect(settings)) if connect else 0


async def _connect(settings: Settings) -> int:
    status = 0
    for name in ("database_url", "database_direct_url"):
        url = getattr(settings, name)
        if url is None:
            continue
        cause = await _fault(url.get_secret_value())
        status = status if cause is None else EXIT_UNAVAILABLE
        print(f"{name.upper()}: {'connected' if cause is None else f'cannot connect: {cause}'}")
    return status


async def _fault(url: str) -> str | None:
    try:
        connection = await connections.connect(url, timeout=CONNECT_SECONDS)
    except Exception as fault:  # noqa: BLE001 - any error is reported
        return connections.cause_of(fault)
    await connection.close()
    return None
