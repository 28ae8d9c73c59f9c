"""Checks of the whole database: each is a statement that finds the rows that cannot be.

They check what no constraint can say, and what triggers hold, foreign keys among it: a restore or an
operator can switch those off. What a CHECK or a UNIQUE says holds wherever it is in force, and that it is
in force is checked (schema). Everything is computed inside PostgreSQL, which spills to disk; only the first
faults of each check are returned. They name rows by their keys, and nothing that a user has written.
"""

from typing import Final

from sqlalchemy import text

from service.platform.database import Session
from service.verification.repository import schema, shop
from service.verification.repository.check import Check, Fault, Finding

#: In the order in which they are reported: what holds for any table first.
CHECKS: Final = (*schema.CHECKS, *shop.CHECKS)
#: How many faults of a check are listed.
MAX_LISTED: Final = 20


async def begin_snapshot(session: Session) -> None:
    """Let everything that this transaction reads be of one moment. Must come first in it."""
    await session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))


async def seconds_since_a_worker(session: Session) -> float | None:
    """How long ago a worker enqueued a periodic job, by the database's clock; None if none ever has.

    It is the one row of a quiet shop that changes all the time, so it dates a backup.
    """
    seconds = await session.value("SELECT extract(epoch FROM now() - max(last_run)) FROM pgqueuer_schedules")
    return None if seconds is None else float(seconds)


async def find_faults(session: Session, check: Check) -> Finding:
    counts = " + ".join(f"(SELECT count(*) FROM {table})" for table in check.tables)
    rows = await session.value(f"SELECT {counts}")
    listed = await session.rows(f"""
        SELECT place, fault, count(*) OVER () AS total FROM ({check.faults}) AS found (id, place, fault)
        ORDER BY id, place, fault LIMIT {MAX_LISTED}
    """)
    first = tuple(Fault(row.place, row.fault) for row in listed)
    return Finding(check.name, rows, listed[0].total if listed else 0, first)
