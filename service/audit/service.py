"""The upkeep of the audit log: client addresses are personal data, and are kept for a time only."""

from datetime import UTC, date, datetime, timedelta

import structlog

from service.audit import repository as audit
from service.platform.database import Database

log = structlog.get_logger(__name__)


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
