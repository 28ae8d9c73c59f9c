"""The hourly look at the whole database, as `tradepost verify` does it: what cannot be there is counted."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import structlog

from service.platform.database import Database
from service.platform.telemetry import business
from service.verification import repository as verification
from service.verification.repository import CHECKS
from service.worker_container import Attempt, Kind, WorkerParts

log = structlog.get_logger(__name__)

#: A statement reads whole tables here, and waits for nobody.
STATEMENT_SECONDS: Final = 600.0
JOB_SECONDS: Final = 1_800.0


async def verify(parts: WorkerParts, _payload: Mapping[str, Any], _attempt: Attempt) -> None:
    """Over a connection of its own, whose statements may take longer; what was found has no content."""
    patient = parts.settings.model_copy(
        update={
            "database_statement_timeout": STATEMENT_SECONDS,
            "database_pool_size": 1,
            "database_max_overflow": 0,
        }
    )
    database = Database(parts.direct_url, patient)
    try:
        async with database.transaction() as session:
            await verification.begin_snapshot(session)
            for check in CHECKS:
                finding = await verification.find_faults(session, check)
                if finding.faults:
                    business.faults_found(check.name, finding.faults)
                    places = [fault.place for fault in finding.first]
                    log.error("invariant.broken", check=check.name, faults=finding.faults, first=places)
    finally:
        await database.close()


def begin() -> None:
    """Count from zero, so that the first fault is an increase."""
    for check in CHECKS:
        business.faults_found(check.name, 0)


KINDS: Final[Mapping[str, Kind]] = {"verify": Kind(verify, at_once=1, attempts=2, seconds=JOB_SECONDS)}
PERIODS: Final[Mapping[str, timedelta]] = {"verify": timedelta(hours=1)}
