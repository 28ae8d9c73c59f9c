"""Every statement on items, except the search."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from asyncpg import UniqueViolationError
from sqlalchemy import (
    BigInteger,
    Boolean,
    Integer,
    Numeric,
    Select,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.catalogue import schemas
from service.catalogue.models import AVAILABILITY, CategoryCount, Item, Stock
from service.platform.database import Record, Session, any_of
from service.platform.database import sequenced_changes as changes
from service.platform.database.documents import document, object_of
from service.platform.database.pagination import Chosen, Conditions, Page, PagedSelect

#: Everything but the search vector: the row has the shape of schemas.Item.
_COLUMNS: Final = tuple(column for column in Item.__table__.columns if column.name != "search")
_NAMES: Final = ", ".join(column.name for column in _COLUMNS)
#: Written out, not bound: the planner takes a partial index only for a value that it can see.
_OUT_OF_STOCK: Final[Any] = literal_column("'out_of_stock'")

#: Columns of the table and not of the mapped class, whose statements take the longer way through the ORM.
_item: Final = Item.__table__.c

_SORTS: Final[dict[str, tuple[Any, ...]]] = {
    "id": (_item.id,),
    "name": (_item.name, _item.id),
    "price": (_item.price, _item.id),
    "created_at": (_item.created_at, _item.id),
    "updated_at": (_item.updated_at, _item.id),
}

_availability: Final = (
    select(text(AVAILABILITY)).select_from(Stock).where(Stock.item_id == Item.id).scalar_subquery()
)

#: A sku made from an id may have been given to another item before: such ids are passed over.
_TAKE_IDS = text("""
    SELECT id FROM (
        SELECT nextval(pg_get_serial_sequence('items', 'id')) AS id FROM generate_series(1, :count)
    ) AS taken
    WHERE 'TP-' || id <> ALL (:skus) AND NOT EXISTS (SELECT FROM items WHERE items.sku = 'TP-' || taken.id)
""").bindparams(bindparam("count", type_=Integer), bindparam("skus", type_=ARRAY(Text)))

#: Item, stock and ledger in one statement, however many. In the order of the skus, so that two
#: batches with the same skus wait for each other instead of deadlocking.
_ADD = text(f"""
    WITH given AS (
        SELECT * FROM unnest(
            :ids, :skus, :names, :descriptions, :categories, :prices, :are_active,
            :quantities, :reorder_levels
        ) AS news (id, sku, name, description, category, price, is_active, quantity, reorder_level)
    ), made AS (
        INSERT INTO items (id, sku, name, description, category, price, is_active, availability)
        SELECT id, sku, name, description, category, price, is_active, {AVAILABILITY}
        FROM given AS stock ORDER BY sku, id
        ON CONFLICT (sku) DO NOTHING
        RETURNING {_NAMES}
    ), stocked AS (
        INSERT INTO stock (item_id, quantity, reorder_level)
        SELECT id, quantity, reorder_level FROM given WHERE id IN (SELECT id FROM made)
    ), noted AS (
        INSERT INTO stock_movements (item_id, actor_id, kind, delta, reason)
        SELECT id, :actor_id, 'initial', quantity, 'Initial stock'
        FROM given WHERE quantity > 0 AND id IN (SELECT id FROM made)
    )
    SELECT {_NAMES} FROM made ORDER BY id
""").bindparams(
    bindparam("ids", type_=ARRAY(BigInteger)),
    bindparam("skus", type_=ARRAY(Text)),
    bindparam("names", type_=ARRAY(Text)),
    bindparam("descriptions", type_=ARRAY(Text)),
    bindparam("categories", type_=ARRAY(Text)),
    bindparam("prices", type_=ARRAY(Numeric(12, 2))),
    bindparam("are_active", type_=ARRAY(Boolean)),
    bindparam("quantities", type_=ARRAY(Integer)),
    bindparam("reorder_levels", type_=ARRAY(Integer)),
    bindparam("actor_id", type_=BigInteger),
)


@dataclass(frozen=True, slots=True)
class New:
    """An item to add; without a sku it gets one made from its id."""

    sku: str | None
    name: str
    description: str
    category: str
    price: Decimal
    is_active: bool
    quantity: int
    reorder_level: int


@dataclass(frozen=True, slots=True)
class Filters:
    sku: str | None = None
    updated_since: datetime | None = None
    category: str | None = None
    in_stock: bool | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    is_active: bool | None = None

    def chosen(self, *, withdrawn: bool) -> tuple[Chosen, dict[str, Any]]:
        """Which filters are given, and their values. Withdrawn items pass where the caller may see them."""
        values = {
            each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None
        }
        if not withdrawn:
            values["on_sale"] = True
        return _FILTERS.choose(values), values


#: Those that are of yes or no have a condition for each: the planner must see the value of a partial index.
_FILTERS: Final = Conditions(
    {
        "on_sale": _item.is_active,
        "sku": _item.sku == bindparam("sku"),
        "updated_since": changes.changed_since("items", _item.id, bindparam("updated_since")),
        "category": _item.category == bindparam("category"),
        "in_stock": {True: _item.availability != _OUT_OF_STOCK, False: _item.availability == _OUT_OF_STOCK},
        "min_price": _item.price >= bindparam("min_price"),
        "max_price": _item.price <= bindparam("max_price"),
        "is_active": {True: _item.is_active, False: ~_item.is_active},
    }
)
#: An item as it is sent.
_DOCUMENT: Final = document(object_of(schemas.Item, _item))
_LISTS: Final = {
    sign + name: PagedSelect(select(_DOCUMENT, *columns), *columns, falling=bool(sign), filters=_FILTERS)
    for name, columns in _SORTS.items()
    for sign in ("", "-")
}
_IS: Final = _item.id == bindparam("item_id")
_ROW: Final = select(*_COLUMNS).where(_IS)
_BY_ID: Final = select(_DOCUMENT, _item.version).where(_IS)
_ON_SALE_BY_ID: Final = _BY_ID.where(_item.is_active)

_total: Final = cast(func.sum(CategoryCount.delta), BigInteger)
_CATEGORY_COUNTS: Final = (
    select(CategoryCount.category, _total.label("count"))
    .group_by(CategoryCount.category)
    .having(_total > literal_column("0"))
    .order_by(CategoryCount.category)
)


def documents(chosen: Chosen) -> Select[Any]:
    """Documents of the items that pass these filters, whose values are parameters."""
    return select(_DOCUMENT, _item.id, _item.name).where(*_FILTERS.of(chosen))


async def find(session: Session, page: Page, filters: Filters, *, sort: str, withdrawn: bool) -> list[Any]:
    """Documents of items. `sort` is one of _SORTS; `-` before it reverses the order."""
    _, values = filters.chosen(withdrawn=withdrawn)
    return await _LISTS[sort].read(session, page, values)


async def find_changed(
    session: Session, page: Page, updated_since: datetime, filters: Filters, *, withdrawn: bool
) -> list[Any]:
    poll = await changes.begin_poll(session, "items", updated_since)
    chosen, values = replace(filters, updated_since=None).chosen(withdrawn=withdrawn)
    return await changes.find(session, page, poll, documents(chosen), row_id=_item.id, values=values)


async def find_removed(
    session: Session, page: Page, updated_since: datetime, *, withdrawn: bool
) -> list[Any]:
    """Rows of Removed."""
    poll = await changes.begin_poll(session, "items", updated_since)
    visible = select(_item.id) if withdrawn else select(_item.id).where(_item.is_active)
    return await changes.find_removed(session, page, poll, visible, sees_all=withdrawn)


async def get(session: Session, item_id: int) -> Record | None:
    """The item, withdrawn or not."""
    return await session.one(_ROW, {"item_id": item_id})


async def get_document(session: Session, item_id: int, *, withdrawn: bool) -> Record | None:
    statement = _BY_ID if withdrawn else _ON_SALE_BY_ID
    return await session.one(statement, {"item_id": item_id})


async def get_products(session: Session, item_ids: Collection[int]) -> dict[int, Record]:
    """id, name, price and is_active of these items, withdrawn ones too, by id; without locks."""
    wanted = bindparam("item_ids", list(item_ids), type_=ARRAY(Item.__table__.c.id.type))
    statement = select(Item.id, Item.name, Item.price, Item.is_active).where(Item.id == func.any(wanted))
    return {row.id: row for row in await session.rows(statement)}


async def get_category_counts(session: Session) -> Sequence[Record]:
    """Category and count of what is on sale, sorted; what has no category is left out."""
    return await session.rows(_CATEGORY_COUNTS)


async def add(session: Session, new: Sequence[New], *, actor_id: int | None) -> list[Record | None]:
    """The new items with their stock, in the order given; None for one whose sku is taken."""
    skus = [item.sku for item in new if item.sku is not None]
    ids: list[int] = []
    while len(ids) < len(new):
        taken = await session.values(_TAKE_IDS, {"count": len(new) - len(ids), "skus": skus})
        ids += sorted(taken)
    values = {
        "ids": ids,
        "skus": [item.sku or f"TP-{item_id}" for item_id, item in zip(ids, new, strict=True)],
        "names": [item.name for item in new],
        "descriptions": [item.description for item in new],
        "categories": [item.category for item in new],
        "prices": [item.price for item in new],
        "are_active": [item.is_active for item in new],
        "quantities": [item.quantity for item in new],
        "reorder_levels": [item.reorder_level for item in new],
        "actor_id": actor_id,
    }
    made = {row.id: row for row in await session.rows(_ADD, values)}
    return [made.get(item_id) for item_id in ids]


async def change(session: Session, item_id: int, values: Mapping[str, Any]) -> bool:
    """Whether it could be done: False when another item has the sku.

    The caller holds the locks of item and stock, whose availability is shown anew. The version
    counts only if anything changed. A sku can be taken between any look and the UPDATE, so it is
    tried, in a savepoint.
    """
    shown = {**values, "availability": _availability}
    changed = or_(*(getattr(Item, name).is_distinct_from(value) for name, value in shown.items()))
    statement = update(Item).where(Item.id == item_id, changed)
    statement = statement.values(**shown, version=Item.version + 1, updated_at=func.now())
    if "sku" not in values:
        await session.execute(statement)
        return True
    try:
        async with session.savepoint():
            await session.execute(statement)
    except UniqueViolationError:
        return False
    return True


async def get_ids_by_sku(session: Session, skus: Collection[str]) -> dict[str, int]:
    """The ids of those of these items that exist, withdrawn ones too."""
    rows = await session.rows(select(Item.sku, Item.id).where(any_of(Item.sku, skus)))
    return {row.sku: row.id for row in rows}
