"""Every statement on stock and its ledger.

Stock changes nowhere else, and only under the locks of `lock`: rows of several items are locked in
one ordered statement, so that orders for the same items queue up instead of deadlocking.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    CTE,
    JSON,
    BigInteger,
    ColumnElement,
    DateTime,
    Integer,
    Select,
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

from service.catalogue import schemas
from service.catalogue.models import Item, Stock, StockMovement
from service.platform.database import Record, Session
from service.platform.database.changes_after import Audience, Changes
from service.platform.database.documents import document, object_of
from service.platform.database.pagination import Conditions, Page, PagedSelect
from service.platform.http.schemas import Removed

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


def locking(condition: ColumnElement[bool]) -> Select[Any]:
    """Those items with their stock, locked in the order of their ids."""
    return _locked.where(condition).order_by(Item.id).with_for_update(key_share=True, of=[Item, Stock])


#: The items `item_ids`. The ids come from a query, or PostgreSQL would plan the statement again for each
#: number of them. Domains above lock them in one statement with what they lock before.
LOCKED_ITEMS: Final = locking(Item.id == func.any(func.array(_ITEM_IDS)))
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


_stock: Final = Stock.__table__.c
_LEVEL: Final = document(object_of(schemas.StockLevel, _stock))
_LEVELS: Final = PagedSelect(
    select(_LEVEL, _stock.item_id),
    _stock.item_id,
    falling=False,
    filters=Conditions({"ids": _stock.item_id == func.any(bindparam("ids", type_=ARRAY(BigInteger)))}),
)
_CHANGES: Final = Changes(
    "stock", Audience.EVERYTHING, rows=select(_LEVEL), row_id=_stock.item_id, removed=Removed
)


async def find(session: Session, page: Page, ids: list[int] | None) -> list[Any]:
    """Documents of StockLevel, in the order of the items' ids."""
    return await _LEVELS.read(session, page, {"ids": ids})


async def find_changes(session: Session, page: Page, after: str) -> list[Any]:
    """Documents of StockLevel and of Removed. Raises PositionUnknown."""
    return await _CHANGES.read(session, page, after)


_CHANGED: Final = text("""
    SELECT items.id, sku, name, availability, quantity, reorder_level, version, changed.sequenced_at AS place
    FROM (
        SELECT row_id, sequenced_at FROM sequenced_changes WHERE kind = 'stock' AND sequenced_at > :after
        ORDER BY sequenced_at LIMIT :most
    ) AS changed
    LEFT JOIN (items JOIN stock ON stock.item_id = items.id) ON items.id = changed.row_id
    ORDER BY changed.sequenced_at
""").bindparams(bindparam("after", type_=DateTime(timezone=True)), bindparam("most", type_=Integer))
_LAST_CHANGE: Final = text("SELECT max(sequenced_at) FROM sequenced_changes WHERE kind = 'stock'")
_HAS_BACKFILL: Final = text("SELECT EXISTS (SELECT FROM change_backfills WHERE kind = 'stock')")


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


async def find_changed(session: Session, after: datetime, most: int) -> Sequence[Record]:
    """The stock of items that changed after this place, in the order of the changes; with nulls for an item
    that is not there any more.
    """
    return await session.rows(_CHANGED, {"after": after, "most": most})


async def get_last_change(session: Session) -> datetime | None:
    """Its place; None where there is none."""
    last: datetime | None = await session.value(_LAST_CHANGE)
    return last


async def has_backfill(session: Session) -> bool:
    """Whether stock from before changes were noted still gets its places."""
    found: bool = await session.value(_HAS_BACKFILL)
    return found


def _with_movements() -> Select[*tuple[Any, ...]]:
    of_page = (
        select(*(getattr(StockMovement, name) for name in MOVEMENT_COLUMNS))
        .where(
            StockMovement.item_id == Stock.item_id, StockMovement.id < bindparam("before", type_=BigInteger)
        )
        .order_by(StockMovement.id.desc())
        .limit(bindparam("fetch", type_=Integer))
        .offset(bindparam("skip", type_=Integer))
        .correlate(Stock)
        .subquery()
    )
    columns = of_page.c
    document = func.json_build_object(*(part for name in MOVEMENT_COLUMNS for part in (name, columns[name])))
    movements = select(func.json_agg(aggregate_order_by(document, columns.id.desc()), type_=JSON))
    return select(
        Stock.item_id,
        Stock.quantity,
        Stock.reorder_level,
        func.coalesce(movements.scalar_subquery(), literal([], JSON)).label("movements"),
    ).where(Stock.item_id == bindparam("item_id"))


_WITH_MOVEMENTS: Final = _with_movements()
#: Beyond every id.
_NEWEST: Final = 2**63 - 1


async def get(session: Session, item_id: int, page: Page) -> dict[str, Any] | None:
    """Exact stock and a page of its ledger, newest first, as of one moment.

    It has the shape of schemas.Stock.
    """
    before = page.after[0] if page.after is not None else _NEWEST
    values = {"item_id": item_id, "before": before, "fetch": page.fetch, "skip": page.skip}
    row = await session.one(_WITH_MOVEMENTS, values)
    if row is None:
        return None
    movements = row["movements"][: page.limit]
    if len(row["movements"]) > page.limit:
        page.next = (movements[-1]["id"],)
    return {**row, "movements": movements}
