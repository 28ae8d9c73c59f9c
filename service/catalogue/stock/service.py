"""Stock as administrators see and correct it. What orders take and put back is theirs."""

from service import audit, notifications
from service.catalogue.schemas import MAX_STOCK, Stock, StockChange
from service.catalogue.stock import repository as stock
from service.errors import FieldFault, NotFound, OutOfStock, StockBelowZero, Unprocessable
from service.events import repository as events
from service.identity import locks as callers
from service.identity.callers import AnyCaller
from service.platform.database import Session


async def get(session: Session, item_id: int) -> Stock:
    row = await stock.get(session, item_id)
    if row is None:
        raise _no_such_item()
    return Stock.of(row)


def _no_such_item() -> NotFound:
    return NotFound("There is no such item.")


async def adjust(session: Session, item_id: int, change: StockChange, *, by: AnyCaller) -> Stock:
    """Raises OutOfStock, which says what is left, when that is less than what is to be taken."""
    await callers.lock(session, by)
    locked = await stock.lock(session, [item_id])
    if not locked:
        raise _no_such_item()
    before = locked[0].quantity
    after = before + change.delta
    if after < 0:
        short = FieldFault("/delta", f"Only {before} left: take no more than that.", OutOfStock.code)
        raise StockBelowZero(short.detail, errors=(short,), extra={"available": before})
    if after > MAX_STOCK:
        large = FieldFault("/delta", f"Stock would be above {MAX_STOCK}: add fewer.", "too_large")
        raise Unprocessable(large.detail, errors=(large,))
    changed = await stock.record_movements(
        session, {item_id: change.delta}, kind="adjustment", reason=change.reason, actor_id=by.user_id
    )
    data = {"before": {"stock": before}, "after": {"stock": after}}
    await audit.record(session, "stock.adjusted", by=by, target_kind="item", target_id=item_id, data=data)
    await notifications.notify_low_stock(session, changed)
    await events.add_low_stock(session, changed)
    return await get(session, item_id)
