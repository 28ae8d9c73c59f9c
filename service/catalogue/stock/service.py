"""Stock: what administrators adjust, what orders take, and what cancelled orders put back."""

from collections.abc import Mapping

from service import audit, events, notifications
from service.catalogue.errors import ItemNotFound, OutOfStock, StockBelowZero
from service.catalogue.schemas import MAX_STOCK, Stock, StockChange
from service.catalogue.stock import repository as stock
from service.errors import FieldFault, Unprocessable
from service.identity import AnyCaller, reauthorize
from service.platform.database import Session

LOW_STOCK_FIELDS = ("sku", "name", "availability", "quantity", "reorder_level", "version")


async def get(session: Session, item_id: int) -> Stock:
    row = await stock.get(session, item_id)
    if row is None:
        raise ItemNotFound
    return Stock.of(row)


async def adjust(session: Session, item_id: int, change: StockChange, *, by: AnyCaller) -> Stock:
    """Raises StockBelowZero, which says what is left, when that is less than what is to be taken."""
    await reauthorize(session, by)
    locked = await stock.lock(session, [item_id])
    if not locked:
        raise ItemNotFound
    before = locked[0].quantity
    after = before + change.delta
    if after < 0:
        short = FieldFault(
            "/delta", f"Only {before} units are in stock: remove no more than that.", OutOfStock.code
        )
        raise StockBelowZero(short.detail, errors=(short,), extra={"available": before})
    if after > MAX_STOCK:
        raise Unprocessable.at(
            "/delta", f"The stock would be above {MAX_STOCK}: add fewer units.", "too_large"
        )
    await _record(session, {item_id: change.delta}, kind="adjustment", reason=change.reason, by=by)
    data = {"before": {"stock": before}, "after": {"stock": after}}
    await audit.record(session, "stock.adjusted", by=by, target_kind="item", target_id=item_id, data=data)
    return await get(session, item_id)


async def take(session: Session, quantities: Mapping[int, int], *, order_id: int, by: AnyCaller) -> None:
    """Take what an order sells, by item id.

    The caller holds the items' locks, and has made sure that there is enough of each.
    """
    deltas = {item_id: -quantity for item_id, quantity in quantities.items()}
    await _record(session, deltas, kind="sale", reason=f"Order {order_id}", by=by, order_id=order_id)


async def put_back(session: Session, order_id: int, *, by: AnyCaller | None) -> None:
    """Put back what the ledger says that a cancelled order took. An imported order took nothing."""
    taken = await stock.get_taken(session, order_id)
    if taken:
        await stock.lock(session, taken)
        reason = f"Order {order_id} cancelled"
        await _record(session, taken, kind="return", reason=reason, by=by, order_id=order_id)


async def _record(
    session: Session,
    deltas: Mapping[int, int],
    *,
    kind: str,
    reason: str,
    by: AnyCaller | None,
    order_id: int | None = None,
) -> None:
    """Change the stock, and announce each item whose stock has fallen to its reorder level."""
    actor_id = by.user_id if by else None
    changed = await stock.record_movements(
        session, deltas, kind=kind, reason=reason, actor_id=actor_id, order_id=order_id
    )
    low = [row for row in changed if row.crossed_reorder_level]
    for row in low:
        await notifications.notify_administrators(
            session,
            kind="item.low_stock",
            title=f"{row.name} is running low",
            body=f"{row.quantity} left, reorder level {row.reorder_level}.",
            data={"item_id": row.item_id, "sku": row.sku, "quantity": row.quantity},
        )
    shown = [{"id": row.item_id, **{name: getattr(row, name) for name in LOW_STOCK_FIELDS}} for row in low]
    await events.publish_each(session, "item.low_stock", shown)
