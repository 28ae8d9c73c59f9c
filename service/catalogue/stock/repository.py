"""Every statement on stock and its ledger.

Stock changes nowhere else, and only under the locks of `lock`: rows of several items are locked in
one ordered statement, so that orders for the same items queue up instead of deadlocking.
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import JSON, BigInteger, Integer, bindparam, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from service.catalogue.models import AVAILABILITY, Item, Stock, StockMovement
from service.platform.database import Record, Session

LAST_MOVEMENTS = 100
LOCKED_COLUMNS = ("id", "sku", "name", "price", "is_active", "version")
MOVEMENT_COLUMNS = ("id", "kind", "delta", "reason", "order_id", "actor_id", "created_at")

#: One round trip: stock, ledger, and what the public sees of it, whose version counts only if it changed.
_RECORD_MOVEMENTS = text(f"""
    WITH change AS (
        SELECT item_id, delta FROM unnest(:item_ids, :deltas) AS given (item_id, delta)
    ), crossing AS (
        SELECT stock.item_id FROM stock JOIN change ON change.item_id = stock.item_id
        WHERE stock.quantity > stock.reorder_level
          AND stock.quantity + change.delta <= stock.reorder_level
          AND (stock.low_stock_notified_at > now() - interval '1 hour') IS NOT TRUE
    ), changed AS (
        UPDATE stock SET quantity = stock.quantity + change.delta,
            low_stock_notified_at =
                CASE WHEN crossing.item_id IS NULL THEN stock.low_stock_notified_at ELSE now() END
        FROM change LEFT JOIN crossing ON crossing.item_id = change.item_id
        WHERE stock.item_id = change.item_id
        RETURNING stock.item_id, stock.quantity, stock.reorder_level,
                  crossing.item_id IS NOT NULL AS crossed_reorder_level, {AVAILABILITY} AS availability
    ), noted AS (
        INSERT INTO stock_movements (item_id, order_id, actor_id, kind, delta, reason)
        SELECT item_id, :order_id, :actor_id, :kind, delta, :reason FROM change
    ), shown AS (
        UPDATE items SET availability = changed.availability, version = items.version + 1, updated_at = now()
        FROM changed WHERE items.id = changed.item_id AND items.availability <> changed.availability
        RETURNING items.id, items.version
    )
    SELECT changed.item_id, items.name, items.sku, COALESCE(shown.version, items.version) AS version,
           changed.availability, changed.quantity, changed.reorder_level, changed.crossed_reorder_level
    FROM changed JOIN items ON items.id = changed.item_id LEFT JOIN shown ON shown.id = changed.item_id
    ORDER BY changed.item_id
""").bindparams(
    bindparam("item_ids", type_=ARRAY(BigInteger)),
    bindparam("deltas", type_=ARRAY(Integer)),
    bindparam("order_id", type_=BigInteger),
    bindparam("actor_id", type_=BigInteger),
)


#: Built once, as what every order asks for is: building it takes longer than the driver does with it.
_LOCK = (
    select(*(getattr(Item, name) for name in LOCKED_COLUMNS), Stock.quantity, Stock.reorder_level)
    .join(Stock, Stock.item_id == Item.id)
    .where(Item.id == func.any(bindparam("item_ids", type_=ARRAY(BigInteger))))
    .order_by(Item.id)
    .with_for_update(key_share=True, of=[Item, Stock])
)


async def lock(session: Session, item_ids: Iterable[int]) -> Sequence[Record]:
    """The items, locked in the order of their ids until the transaction ends.

    Rows have LOCKED_COLUMNS, quantity and reorder_level, as of the lock. Unknown ids
    have no row. The item is locked too, so that neither its price nor its withdrawal changes meanwhile.
    """
    return await session.rows(_LOCK, {"item_ids": list(item_ids)})


async def record_movements(
    session: Session,
    deltas: Mapping[int, int],
    *,
    kind: str,
    reason: str,
    actor_id: int | None,
    order_id: int | None = None,
) -> Sequence[Record]:
    """Change stock and record it in the ledger; deltas by item id, none of them 0.

    The caller holds the rows' locks and has made sure that none falls below 0. Rows have item_id,
    name, sku, version, availability, quantity, reorder_level, and `crossed_reorder_level`: whether the
    stock has just fallen to the reorder level, and administrators were not notified of it within the last
    hour. Otherwise ordering and cancelling in a loop would notify them each time.
    """
    values = {
        "item_ids": list(deltas),
        "deltas": list(deltas.values()),
        "kind": kind,
        "reason": reason,
        "order_id": order_id,
        "actor_id": actor_id,
    }
    return await session.rows(_RECORD_MOVEMENTS, values)


async def get_taken(session: Session, order_id: int) -> dict[int, int]:
    """What the ledger says that the order took: quantities by item id. An imported order took nothing."""
    statement = select(StockMovement.item_id, StockMovement.delta).where(
        StockMovement.order_id == order_id, StockMovement.kind == "sale"
    )
    return {row.item_id: -row.delta for row in await session.rows(statement)}


async def set_reorder_level(session: Session, item_id: int, reorder_level: int) -> None:
    """What the public sees of the stock may change with it: `items.change` must follow."""
    await session.execute(update(Stock).where(Stock.item_id == item_id).values(reorder_level=reorder_level))


async def get(session: Session, item_id: int) -> Record | None:
    """Exact stock and the last of its ledger, newest first, as of one moment.

    The row has the shape of schemas.Stock.
    """
    last = (
        select(*(getattr(StockMovement, name) for name in MOVEMENT_COLUMNS))
        .where(StockMovement.item_id == Stock.item_id)
        .order_by(StockMovement.id.desc())
        .limit(LAST_MOVEMENTS)
        .correlate(Stock)
        .subquery()
    )
    document = func.json_build_object(*(part for name in MOVEMENT_COLUMNS for part in (name, last.c[name])))
    movements = select(func.json_agg(aggregate_order_by(document, last.c.id.desc()), type_=JSON))
    statement = select(
        Stock.item_id,
        Stock.quantity,
        Stock.reorder_level,
        func.coalesce(movements.scalar_subquery(), literal([], JSON)).label("movements"),
    ).where(Stock.item_id == item_id)
    return await session.one(statement)
