"""Every statement on stock and its ledger.

Stock changes nowhere else, and only under the locks of `lock`: rows of several items are locked in
one ordered statement, so that orders for the same items queue up instead of deadlocking.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    CTE,
    JSON,
    BigInteger,
    Integer,
    Text,
    bindparam,
    func,
    literal,
    literal_column,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from service.catalogue.models import Item, Stock, StockMovement
from service.platform.database import Record, Session

LAST_MOVEMENTS = 100
LOCKED_COLUMNS = ("id", "sku", "name", "price", "availability", "is_active", "version")
MOVEMENT_COLUMNS = ("id", "kind", "delta", "reason", "order_id", "actor_id", "created_at")

_ITEM_IDS: Final = select(func.unnest(bindparam("item_ids", type_=ARRAY(BigInteger)))).scalar_subquery()
_LATELY: Final = (Stock.low_stock_notified_at > func.now() - literal_column("interval '1 hour'")).is_(true())
_locked = select(
    *(getattr(Item, name) for name in LOCKED_COLUMNS),
    Stock.quantity,
    Stock.reorder_level,
    _LATELY.label("notified_lately"),
).join(Stock, Stock.item_id == Item.id)
#: The items `item_ids` with their stock, locked in the order of their ids. The ids come from a query, or
#: PostgreSQL would plan the statement again for each number of them. Domains above lock them in one
#: statement with what they lock before.
LOCKED_ITEMS: Final = (
    _locked.where(Item.id == func.any(func.array(_ITEM_IDS)))
    .order_by(Item.id)
    .with_for_update(key_share=True, of=[Item, Stock])
)
_SOLD: Final = (
    _locked.add_columns((-StockMovement.delta).label("sold"))
    .join(StockMovement, StockMovement.item_id == Item.id)
    .where(
        StockMovement.order_id == bindparam("order_id", type_=BigInteger),
        StockMovement.kind == literal_column("'sale'"),
    )
    .order_by(Item.id)
    .with_for_update(key_share=True, of=[Item, Stock])
)


def movements(condition: str = "true") -> tuple[CTE, ...]:
    """Changes of stock, with their entries in the ledger, if this condition holds. The caller holds the
    locks. Domains above write them in one statement with what they are made for.
    """
    moved = text(f"""
        UPDATE stock SET quantity = stock.quantity + change.delta,
            low_stock_notified_at = CASE WHEN stock.item_id = ANY (:stock_low_ids) THEN now()
                                         ELSE stock.low_stock_notified_at END
        FROM unnest(:stock_item_ids, :stock_deltas) AS change (item_id, delta)
        WHERE stock.item_id = change.item_id AND {condition}
        RETURNING stock.item_id, change.delta
    """).bindparams(
        bindparam("stock_low_ids", type_=ARRAY(BigInteger)),
        bindparam("stock_item_ids", type_=ARRAY(BigInteger)),
        bindparam("stock_deltas", type_=ARRAY(Integer)),
    )
    noted = text("""
        INSERT INTO stock_movements (item_id, order_id, actor_id, kind, delta, reason)
        SELECT item_id, :stock_order_id, :stock_actor_id, :stock_kind, delta, :stock_reason FROM moved
    """).bindparams(
        bindparam("stock_order_id", type_=BigInteger),
        bindparam("stock_actor_id", type_=BigInteger),
        bindparam("stock_kind", type_=Text),
        bindparam("stock_reason", type_=Text),
    )
    return moved.columns().cte("moved"), noted.columns().cte("noted")


#: What the public sees of stock, where that changes. Otherwise it is left out: triggers fire for an UPDATE
#: of no row too.
AVAILABILITIES: Final = (
    text("""
        UPDATE items SET availability = shown.availability, version = items.version + 1, updated_at = now()
        FROM unnest(:stock_shown_ids, :stock_availabilities) AS shown (item_id, availability)
        WHERE items.id = shown.item_id
    """)
    .bindparams(
        bindparam("stock_shown_ids", type_=ARRAY(BigInteger)),
        bindparam("stock_availabilities", type_=ARRAY(Text)),
    )
    .columns()
    .cte("shown"),
)
_RECORD: Final = select(literal(True)).add_cte(*movements())
_RECORD_AND_SHOW: Final = _RECORD.add_cte(*AVAILABILITIES)


async def lock(session: Session, item_ids: Iterable[int]) -> Sequence[Record]:
    """The items, locked in the order of their ids until the transaction ends.

    Rows have LOCKED_COLUMNS, quantity, reorder_level and notified_lately, as of the lock: whether
    administrators were notified within the last hour that the stock is low. Unknown ids have no row. The item
    is locked too, so that neither its price nor its withdrawal changes meanwhile.
    """
    return await session.rows(LOCKED_ITEMS, {"item_ids": list(item_ids)})


async def lock_sold(session: Session, order_id: int) -> Sequence[Record]:
    """The items that the order took by the ledger, as `lock` has them, and how many units were `sold`. An
    imported order took none.
    """
    return await session.rows(_SOLD, {"order_id": order_id})


async def record_movements(session: Session, values: Mapping[str, Any], *, shows: bool) -> None:
    """`values` are the parameters of `movements`, and of AVAILABILITIES where it `shows` any."""
    await session.rows(_RECORD_AND_SHOW if shows else _RECORD, values)


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
