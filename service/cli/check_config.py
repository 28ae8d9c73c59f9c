"""Say whether the service would start with this configuration, before it is rolled out."""

import asyncio
import sys
from typing import Final

from service.errors import ConfigError
from service.platform.config import EXIT_CONFIG, Settings, describe, load_settings
from service.platform.database import connections, session_settings
from service.platform.database.pooler import LOAD_TRIGRAMS, keeps_statements, lacking_defaults

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
    if settings.database_pooler and settings.database_url:
        status = await _try_pooler(settings, settings.database_url.get_secret_value()) or status
    return status


async def _try_pooler(settings: Settings, url: str) -> int:
    """Say what the role needs there, with the statements that set it."""
    through = connections.through_pooler(url, settings.database_pooler or "")
    try:
        connection = await connections.connect_through_pooler(
            through, prepares=False, timeout=CONNECT_SECONDS
        )
        try:
            lacking = await lacking_defaults(connection, session_settings(settings))
        finally:
            await connection.close()
    except Exception as fault:  # noqa: BLE001 - any error is reported
        print(f"DATABASE_POOLER: cannot connect: {connections.cause_of(fault)}")
        return EXIT_UNAVAILABLE
    kept = not settings.database_pooler_prepares or await keeps_statements(through, CONNECT_SECONDS)
    if not kept:
        print("DATABASE_POOLER: it keeps no prepared statements: set DATABASE_POOLER_PREPARES=false")
    if lacking:
        print(f"DATABASE_POOLER: its role lacks defaults: {', '.join(lacking)}. As this role run:")
        for statement in (LOAD_TRIGRAMS, *lacking.values()):
            print(f"  {statement};")
    if lacking or not kept:
        return EXIT_UNAVAILABLE
    print("DATABASE_POOLER: connected")
    return 0


async def _fault(url: str) -> str | None:
    try:
        connection = await connections.connect(url, timeout=CONNECT_SECONDS)
    except Exception as fault:  # noqa: BLE001 - any error is reported
        return connections.cause_of(fault)
    await connection.close()
    return None
