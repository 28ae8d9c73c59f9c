"""What the clock sets off: orders that nobody paid, and what need not be kept any longer."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from service import audit, notifications
from service.accounts.recovery import repository as recovery
from service.errors import InvalidTransition
from service.events import repository as events
from service.identity import sessions as auth
from service.orders import repository as orders
from service.orders import transitions
from service.platform.database import Session
from service.platform.http.idempotency import repository as idempotency
from service.platform.jobs import queue
from service.platform.mail import repository as mails
from service.worker_container import Attempt, Kind, WorkerParts

log = structlog.get_logger(__name__)

#: For so long after its end what a session or a mail's token was is still asked for.
TOKENS_KEPT: Final = timedelta(days=1)
#: Rows in one transaction: a statement must not take longer than any other may.
BATCH: Final = 5_000
#: Orders looked for at a time.
ORDERS: Final = 100

#: Why an order is cancelled that nobody paid.
UNPAID: Final = "It was not paid in time."

Step = Callable[[WorkerParts], Awaitable[object]]


async def cancel_unpaid(parts: WorkerParts, _payload: Mapping[str, Any], _attempt: Attempt) -> None:
    """Those placed too long ago, one in a transaction."""
    before, cancelled, after, full = datetime.now(UTC) - parts.settings.payment_window, 0, 0, True
    while full:
        async with parts.database.reading() as session:
            batch = await orders.get_unpaid(session, before, after=after, count=ORDERS)
        for order_id in batch:
            cancelled += await _expire(parts, order_id)
            after = order_id
        full = len(batch) == ORDERS
    if cancelled:
        log.info("orders.expired", count=cancelled)


async def _expire(parts: WorkerParts, order_id: int) -> bool:
    try:
        async with parts.database.transaction() as session:
            await transitions.cancel(session, None, order_id, UNPAID)
    except InvalidTransition:
        return False  # paid or cancelled since it was looked for
    return True


async def clean_up(parts: WorkerParts, _payload: Mapping[str, Any], _attempt: Attempt) -> None:
    """Each step whatever becomes of the others; a fault is told by the last that had one."""
    faults: list[Exception] = []
    for step in STEPS:
        try:
            await step(parts)
        except Exception as fault:  # noqa: BLE001 - the other steps have nothing to do with it
            log.warning("upkeep.step_failed", step=step.__name__, fault=type(fault).__name__)
            faults.append(fault)
    if faults:
        raise faults[-1]


async def _sessions(parts: WorkerParts) -> None:
    async with parts.database.transaction() as session:
        await auth.purge(session, kept=TOKENS_KEPT)


async def _mail_tokens(parts: WorkerParts) -> None:
    await _all(parts, lambda session: recovery.purge(session, kept=TOKENS_KEPT, most=BATCH))


async def _idempotency_keys(parts: WorkerParts) -> None:
    kept = parts.settings.retention_keys
    await _all(parts, lambda session: idempotency.purge(session, kept, most=BATCH))


async def _stream_tickets(parts: WorkerParts) -> None:
    async with parts.database.transaction() as session:
        await notifications.purge_stream_tickets(session)


async def _events(parts: WorkerParts) -> None:
    before = datetime.now(UTC) - parts.settings.retention_events
    await _all(parts, lambda session: events.purge(session, before, most=BATCH))


async def _mails(parts: WorkerParts) -> None:
    before = datetime.now(UTC) - parts.settings.retention_events
    await _all(parts, lambda session: mails.purge(session, before, most=BATCH))


async def _records_of_jobs(parts: WorkerParts) -> None:
    before = datetime.now(UTC) - parts.settings.retention_events
    await _all(parts, lambda session: queue.purge(session, before, most=BATCH))


async def _audit_addresses(parts: WorkerParts) -> None:
    await audit.keep_addresses(parts.database, parts.settings.retention_audit)


async def _all(parts: WorkerParts, purge: Callable[[Session], Awaitable[int]]) -> None:
    """In batches, until there is nothing left to purge."""
    gone = BATCH
    while gone >= BATCH:
        async with parts.database.transaction() as session:
            gone = await purge(session)


#: What is purged each hour; a table whose rows expire has its line here.
STEPS: Final[tuple[Step, ...]] = (
    _sessions,
    _mail_tokens,
    _idempotency_keys,
    _stream_tickets,
    _events,
    _mails,
    _records_of_jobs,
    _audit_addresses,
)

KINDS: Final[Mapping[str, Kind]] = {
    "cancel_unpaid": Kind(cancel_unpaid, at_once=1, attempts=3, seconds=600),
    "clean_up": Kind(clean_up, at_once=1, attempts=3, seconds=600),
}
PERIODS: Final[Mapping[str, timedelta]] = {
    "cancel_unpaid": timedelta(minutes=1),
    "clean_up": timedelta(hours=1),
}
