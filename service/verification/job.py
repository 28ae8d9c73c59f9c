"""The hourly check of the whole database, as `tradepost verify` makes it: faults are counted and logged."""

from typing import Final

import structlog

from service.platform.config import Settings
from service.platform.database import Database
from service.platform.telemetry.metrics import Counter
from service.verification import repository as verification
from service.verification.repository import CHECKS

log = structlog.get_logger(__name__)

#: A statement reads whole tables here, and waits for no lock.
STATEMENT_SECONDS: Final = 600.0
JOB_SECONDS: Final = 1_800.0
FAULTS: Final = Counter(
    "order_invariant_faults_total",
    "Rows that violate an invariant, counted each time that the worker's hourly check finds them.",
    ["check"],
)


async def verify(url: str, settings: Settings) -> None:
    """Over a connection of its own, whose statements may take longer; log lines hold no content of rows."""
    patient = {"database_statement_timeout": STATEMENT_SECONDS, "database_pool_size": 1}
    database = Database(url, settings.model_copy(update={**patient, "database_max_overflow": 0}))
    try:
        async with database.transaction() as session:
            await verification.begin_snapshot(session)
            for check in CHECKS:
                finding = await verification.find_faults(session, check)
                if finding.faults:
                    FAULTS.labels(check.name).inc(finding.faults)
                    places = [fault.place for fault in finding.first]
                    log.error("invariant.broken", check=check.name, faults=finding.faults, first=places)
    finally:
        await database.close()


def begin() -> None:
    """Count from zero, so that the first fault is an increase."""
    for check in CHECKS:
        FAULTS.labels(check.name)
