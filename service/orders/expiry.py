"""Orders that are not paid in time are cancelled by the worker."""

from datetime import timedelta
from typing import Final

import structlog

from service.orders import repository as orders
from service.orders import transitions
from service.orders.errors import InvalidTransition
from service.platform.database import Database

log = structlog.get_logger(__name__)

#: Orders looked for at a time.
BATCH: Final = 100
REASON: Final = "It was not paid in time."


async def cancel_unpaid(database: Database, payment_window: timedelta) -> None:
    """Those placed longer ago than that, each in a transaction of its own."""
    cancelled, after, full = 0, 0, True
    while full:
        async with database.reading() as session:
            batch = await orders.get_unpaid(session, payment_window, after=after, count=BATCH)
        for order_id in batch:
            cancelled += await _cancel(database, order_id)
            after = order_id
        full = len(batch) == BATCH
    if cancelled:
        log.info("orders.expired", count=cancelled)


async def _cancel(database: Database, order_id: int) -> bool:
    try:
        async with database.transaction() as session:
            await transitions.cancel(session, None, order_id, REASON)
    except InvalidTransition:
        return False  # paid or cancelled since it was looked for
    return True
