"""Every statement on stock and its ledger.

Stock changes nowhere else, and only under the locks of `lock`: rows of several items are locked in
one ordered statement, so that orders for the same items queue up instead of deadlocking.
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import BigInteger, Integer, bindparam, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY

from service.database import Record, Session
from service.models.items import Item, Stock, StockMovement
from service.pagination import Page

_AVAILABILITY = """
    CASE WHEN stock.quantity = 0 THEN 'out_of_stock'
         WHEN stock.quantity <= stock.reorder_level THEN 'low_stock'
         ELSE 'in_stock' END
"""

#: One round trip: stock, ledger, and what the public sees of it, whose version counts only if it changed.
_MOVE = text(f"""
    WITH change AS (
        SELECT item_id, delta FROM unnest(:item_ids, :deltas) AS given (item_id, delta)
    ), moved AS (
        UPDATE stock SET quantity = stock.quantity + change.delta
        FROM change WHERE stock.item_id = change.item_id
        RETURNING stock.item_id, change.delta, stock.quantity, stock.reorder_level,
                  {_AVAILABILITY} AS availability
    ), noted AS (
        INSERT INTO stock_movements (item_id, order_id, actor_id, kind, delta, reason)
        SELECT item_id, :order_id, :actor_id, :kind, delta, :reason FROM change
    ), shown AS (
        UPDATE items SET availability = moved.availability, version = items.version + 1, updated_at = now()
        FROM moved WHERE items.id = moved.item_id AND items.availability <> moved.availability
    )
    SELECT moved.item_id, items.name, items.sku, moved.quantity, moved.reorder_level,
           moved.quantity <= moved.reorder_level
           AND moved.quantity - moved.delta > moved.reorder_level AS fell
    FROM moved JOIN items ON items.id = moved.item_id
    ORDER BY moved.item_id
""").bindparams(
    bindparam("item_ids", type_=ARRAY(BigInteger)),
    bindparam("deltas", type_=ARRAY(Integer)),
    bindparam("order_id", type_=BigInteger),
    bindparam("actor_id", type_=BigInteger),
)

_SHOW = text(f"""
    UPDATE items SET availability = {_AVAILABILITY}, version = items.version + 1, updated_at = now()
    FROM stock
    WHERE stock.item_id = items.id AND items.id = :item_id AND items.availability <> {_AVAILABILITY}
""")


async def lock(session: Session, item_ids: Iterable[int]) -> Sequence[Record]:
    """The items, locked in the order of their ids until the transaction ends.

    Rows have id, sku, name, price, is_active, quantity and reorder_level, as of the lock. Unknown ids
    have no row. The item is locked too, so that neither its price nor its withdrawal changes meanwhile.
    """
    statement = (
        select(Item.id, Item.sku, Item.name, Item.price, Item.is_active, Stock.quantity, Stock.reorder_level)
        .join(Stock, Stock.item_id == Item.id)
        .where(Item.id.in_(sorted(item_ids)))
        .order_by(Item.id)
        .with_for_update(key_share=True, of=[Item, Stock])
    )
    return (await session.execute(statement)).all()


async def move(
    session: Session,
    deltas: Mapping[int, int],
    *,
    kind: str,
    reason: str,
    actor_id: int | None,
    order_id: int | None = None,
) -> Sequence[Record]:
    """Change stock and note it in the ledger; deltas by item id, none of them 0.

    The caller holds the rows' locks and has made sure that none falls below 0. Rows have item_id,
    name, sku, quantity, reorder_level, and `fell`: whether it has just come to its reorder level.
    """
    values = {
        "item_ids": list(deltas),
        "deltas": list(deltas.values()),
        "kind": kind,
        "reason": reason,
        "order_id": order_id,
        "actor_id": actor_id,
    }
    return (await session.execute(_MOVE, values)).all()


async def set_reorder_level(session: Session, item_id: int, reorder_level: int) -> None:
    """What the public sees of the stock may change with it."""
    await session.execute(update(Stock).where(Stock.item_id == item_id).values(reorder_level=reorder_level))
    await session.execute(_SHOW, {"item_id": item_id})


async def get(session: Session, item_id: int) -> Record | None:
    """The exact stock: item_id, quantity, reorder_level."""
    statement = select(Stock.item_id, Stock.quantity, Stock.reorder_level).where(Stock.item_id == item_id)
    row: Record | None = (await session.execute(statement)).one_or_none()
    return row


async def ledger(session: Session, item_id: int, page: Page) -> list[Record]:
    """The item's movements, newest first."""
    columns = StockMovement.__table__.columns
    statement = select(*columns).where(StockMovement.item_id == item_id).order_by(StockMovement.id.desc())
    if page.after is not None:
        statement = statement.where(StockMovement.id < page.after[0])
    return page.cut((await session.execute(statement.limit(page.fetch).offset(page.skip))).all(), "id")
