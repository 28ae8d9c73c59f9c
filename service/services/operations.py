"""Probes: what they may depend on is decided here."""

import asyncio
import os
from typing import Final, Literal

from service.changes import ChangeFeed
from service.config import Settings
from service.database import Database, required_revision
from service.errors import ServiceError
from service.schemas.operations import Readiness, Startup

PING_SECONDS: Final = 1.0


async def readiness(database: Database, settings: Settings) -> Readiness:
    """Soft by default: a database that is down takes no pod out, or it would take all at once."""
    draining = settings.drain_file is not None and os.path.exists(settings.drain_file)  # noqa: ASYNC240, PTH110 - a stat of tmpfs does not block
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


async def startup(database: Database, feed: ChangeFeed) -> Startup:
    """Raises Unavailable without a database: then nothing can be said of its schema."""
    needed, older = required_revision()
    found = await database.revision()
    # A revision that this build does not know was made by a newer one, which keeps ours working.
    started = found is not None and found not in older and feed.current
    return Startup(
        status="started" if started else "starting",
        schema_revision=found,
        required_revision=needed,
        listening=feed.current,
    )
