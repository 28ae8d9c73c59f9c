"""The upkeep of the audit log: client addresses are personal data, and are kept for a time only."""

import asyncio
import random
from datetime import UTC, date, datetime, timedelta
from typing import Final

import structlog

from service.database import Database
from service.repositories import audit

log = structlog.get_logger(__name__)

#: Soon, but not at once: at the start of a process there are other things to do.
FIRST_SECONDS: Final = 120.0
DAY_SECONDS: Final = 86_400.0
AGAIN_SECONDS: Final = 3_600.0


async def keep_addresses(database: Database, retention: timedelta, *, now: datetime | None = None) -> None:
    """Make the partitions of this month and the next, and drop those that are wholly too old.

    Each step is a transaction of its own: whoever holds the lock on one partition must not wait for that
    on the table. Where another process is at it, this one leaves it to that.
    """
    now = now or datetime.now(UTC)
    this = now.astimezone(UTC).date().replace(day=1)
    for month in (this, _following(this)):
        await _add(database, month)
    oldest = now - retention
    async with database.transaction() as session:
        if await audit.lock_months(session):
            for month in await audit.get_months(session):
                if _following(month) <= oldest.astimezone(UTC).date():
                    await audit.drop_month(session, month)
                    log.info("audit.month_dropped", month=f"{month:%Y-%m}")
    async with database.transaction() as session:
        await audit.forget_addresses(session, oldest)


async def _add(database: Database, month: date) -> None:
    async with database.transaction() as session:
        if await audit.lock_months(session) and month not in await audit.get_months(session):
            await audit.add_month(session, month, _following(month))
            log.info("audit.month_added", month=f"{month:%Y-%m}")


def _following(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


async def keep_up(database: Database, retention: timedelta) -> None:
    """Once a day, for as long as the process runs; after a failure again in an hour.

    Nothing depends on its success: without a month's partition there is the default one.
    """
    pause = FIRST_SECONDS
    while True:
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads the processes
        try:
            await keep_addresses(database, retention)
        except Exception:
            log.exception("audit.upkeep_failed")
            pause = AGAIN_SECONDS
        else:
            pause = DAY_SECONDS
