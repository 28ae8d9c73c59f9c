"""Stock: what administrators adjust, what orders take, and what cancelled orders put back."""

from collections.abc import Mapping, Sequence

from service import audit, events, notifications
from service.catalogue.errors import ItemNotFound, OutOfStock, StockBelowZero
from service.catalogue.schemas import MAX_STOCK, Stock, StockChange
from service.catalogue.stock import repository as stock
from service.catalogue.stock.movements import Movements
from service.errors import FieldFault, Unprocessable
from service.identity import AnyCaller, reauthorize
from service.platform.database import Record, Session


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
    movements = Movements.of(
        locked, {item_id: change.delta}, kind="adjustment", reason=change.reason, actor_id=by.user_id
    )
    await stock.record_movements(session, movements.parameters, shows=bool(movements.shown))
    for low in movements.low:
        await notifications.add(session, low.notification)
        await events.publish_new(session, [low.event])
    data = {"before": {"stock": before}, "after": {"stock": after}}
    await audit.record(session, "stock.adjusted", by=by, target_kind="item", target_id=item_id, data=data)
    return await get(session, item_id)


def take(
    items: Sequence[Record], quantities: Mapping[int, int], *, order_id: int, by: AnyCaller
) -> Movements:
    """What an order sells, by item id.

    The caller holds the items' locks, and has made sure that there is enough of each.
    """
    deltas = {item_id: -quantity for item_id, quantity in quantities.items()}
    return Movements.of(
        items, deltas, kind="sale", reason=f"Order {order_id}", actor_id=by.user_id, order_id=order_id
    )


async def put_back(session: Session, order_id: int, *, by: AnyCaller | None) -> Movements | None:
    """What the ledger says that a cancelled order took, whose items are locked. An imported order took
    nothing.
    """
    items = await stock.lock_sold(session, order_id)
    deltas = {item.id: item.sold for item in items}
    if not items:
        return None
    return Movements.of(
        items,
        deltas,
        kind="return",
        reason=f"Order {order_id} cancelled",
        actor_id=by.user_id if by else None,
        order_id=order_id,
    )
