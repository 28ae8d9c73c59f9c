"""Probes: what they may depend on is decided here."""

import asyncio
import os
from typing import Final, Literal

from service.config import Settings
from service.database import Database, required_revision
from service.errors import ServiceError
from service.schemas.operations import Readiness, Startup

PING_SECONDS: Final = 1.0


async def readiness(database: Database, settings: Settings, *, ending: bool = False) -> Readiness:
    """Soft by default: a database that is down takes no pod out, or it would take all at once.

    `ending` says that the process drains, drain file or not.
    """
    flag = settings.drain_file
    draining = ending or (flag is not None and os.path.exists(flag))  # noqa: ASYNC240, PTH110 - a stat of tmpfs does not block
    up = await _answers(database)
    ready = not draining and (up or settings.readiness_database == "soft")
    state: Literal["ready", "not_ready"] = "ready" if ready else "not_ready"
    return Readiness(status=state, database="up" if up else "down", draining=draining)


async def _answers(database: Database) -> bool:
    try:
        async with asyncio.timeout(PING_SECONDS):
            await database.ping()
    except (ServiceError, TimeoutError):
        return False
    return True


async def startup(database: Database, *, listening: bool) -> Startup:
    """`listening` is whether this process hears what others do.

    Raises Unavailable without a database: then nothing can be said of its schema.
    """
    needed, _ = required_revision()
    found = await database.revision()
    started = _is_enough(found) and listening
    return Startup(
        status="started" if started else "starting",
        schema_revision=found,
        required_revision=needed,
        listening=listening,
    )


async def has_schema(database: Database) -> bool:
    """Whether the tables are those that this build works on. Raises Unavailable without a database."""
    return _is_enough(await database.revision())


def _is_enough(found: str | None) -> bool:
    """A revision that this build does not know was made by a newer one, which keeps ours working."""
    _, older = required_revision()
    return found is not None and found not in older
