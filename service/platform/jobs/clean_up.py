"""The clean-up job: deletes expired rows, step by step. Each domain has its own steps."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final, Protocol

import structlog

from service.platform.database import Database, Session

log = structlog.get_logger(__name__)

#: Rows in one transaction: a statement must not take longer than any other may.
BATCH: Final = 5_000

Step = Callable[[Database], Awaitable[None]]


class Purge(Protocol):
    async def __call__(self, session: Session, kept: timedelta, /, *, most: int) -> int:
        """Delete at most so many rows that have been over for longer than `kept`; how many they were."""


def in_batches(purge: Purge, kept: timedelta, *, batch: int = BATCH) -> Step:
    """Purge in batches, each in its own transaction, until no expired row is left."""

    async def step(database: Database) -> None:
        purged = batch
        while purged >= batch:
            async with database.transaction() as session:
                purged = await purge(session, kept, most=batch)

    return step


async def clean_up(database: Database, steps: Mapping[str, Step]) -> None:
    """Run every step, even after one has failed; the last fault is raised in the end."""
    faults: list[Exception] = []
    for name, step in steps.items():
        try:
            await step(database)
        except Exception as fault:  # noqa: BLE001 - the other steps have nothing to do with it
            log.warning("upkeep.step_failed", step=name, fault=type(fault).__name__)
            faults.append(fault)
    if faults:
        raise faults[-1]
