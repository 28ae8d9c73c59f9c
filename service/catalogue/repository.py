"""Every statement on items, except the search and the conditions of filters."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
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
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.catalogue import schemas
from service.catalogue.filters import FILTERS, Filters
from service.catalogue.models import AVAILABILITY, CategoryCount, Item, Stock
from service.platform.database import Record, Session, any_of
from service.platform.database import sequenced_changes as changes
from service.platform.database.changes_after import Audience, Changes
from service.platform.database.documents import document, object_of
from service.platform.database.pagination import Chosen, Page, PagedSelect
from service.platform.http.schemas import Removed

#: The installation's, which every item shows.
CURRENCY: Final = bindparam("currency", type_=Text)
#: Everything but the search vector.
COLUMNS: Final = tuple(column for column in Item.__table__.columns if column.name != "search")
_NAMES: Final = ", ".join(column.name for column in COLUMNS)
#: The columns that are JSON, as text.
DOCUMENTS: Final = ("images", "attributes", "metadata")
#: What no two items have the same of.
UNIQUE: Final = ("sku", "external_id")

#: Columns of the table: statements of the mapped class take the longer way through the ORM.
_item: Final = Item.__table__.c

_SORTS: Final[dict[str, tuple[Any, ...]]] = {"id": (_item.id,)} | {
    name: (_item[name], _item.id) for name in ("name", "price", "created_at", "updated_at")
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

_GIVEN: Final = (
    "id, sku, external_id, name, description, category, price, is_active, images, attributes, metadata"
)
#: Item, stock and ledger in one statement, however many. In the order of the skus, so that two
#: batches with the same skus wait for each other instead of deadlocking.
_ADD = text(f"""
    WITH given AS (
        SELECT * FROM unnest(
            :ids, :skus, :external_ids, :names, :descriptions, :categories, :prices, :are_active, :images,
            :attributes, :metadata, :quantities, :reorder_levels
        ) AS news (
            id, sku, external_id, name, description, category, price, is_active, images, attributes,
            metadata, quantity, reorder_level
        )
    ), made AS (
        INSERT INTO items ({_GIVEN}, availability)
        SELECT {_GIVEN}, {AVAILABILITY}
        FROM given AS stock ORDER BY sku, id
        ON CONFLICT DO NOTHING
        RETURNING {_NAMES}
    ), stocked AS (
        INSERT INTO stock (item_id, quantity, reorder_level)
        SELECT id, quantity, reorder_level FROM given WHERE id IN (SELECT id FROM made)
    ), noted AS (
        INSERT INTO stock_movements (item_id, actor_id, kind, delta, reason)
        SELECT id, :actor_id, 'initial', quantity, 'Initial stock'
        FROM given WHERE quantity > 0 AND id IN (SELECT id FROM made)
    )
    SELECT {_NAMES}, :currency AS currency FROM made ORDER BY id
""").bindparams(
    bindparam("ids", type_=ARRAY(BigInteger)),
    *(
        bindparam(name, type_=ARRAY(Text))
        for name in ("skus", "external_ids", "names", "descriptions", "categories", *DOCUMENTS)
    ),
    bindparam("prices", type_=ARRAY(Numeric(12, 2))),
    bindparam("are_active", type_=ARRAY(Boolean)),
    *(bindparam(name, type_=ARRAY(Integer)) for name in ("quantities", "reorder_levels")),
    bindparam("actor_id", type_=BigInteger),
    CURRENCY,
)


@dataclass(frozen=True, slots=True)
class New:
    """An item to add; without a sku it gets one made from its id."""

    sku: str | None
    external_id: str | None
    name: str
    description: str
    category: str
    price: Decimal
    is_active: bool
    images: str
    attributes: str
    metadata: str
    quantity: int
    reorder_level: int


#: The JSON of an item, by whether it is for staff, who get withdrawn ones too; for packages above as well,
#: which give it the session's currency.
ITEM_JSON: Final = {
    staff: object_of(schemas.Item, _item, whole=staff, currency=CURRENCY) for staff in (False, True)
}
_DOCUMENT: Final = {staff: document(shown) for staff, shown in ITEM_JSON.items()}
_LISTS: Final = {
    (sign + name, staff): PagedSelect(select(shown, *columns), *columns, falling=bool(sign), filters=FILTERS)
    for name, columns in _SORTS.items()
    for sign in ("", "-")
    for staff, shown in _DOCUMENT.items()
}
_CHANGES: Final = {
    withdrawn: Changes(
        "items",
        Audience.EVERYTHING if withdrawn else Audience.PUBLIC,
        rows=select(_DOCUMENT[withdrawn]).where(true() if withdrawn else _item.is_active),
        row_id=_item.id,
        removed=Removed,
    )
    for withdrawn in (False, True)
}
_IS: Final = _item.id == bindparam("item_id")
#: The row has the shape of schemas.Item.
_ROW: Final = select(*COLUMNS, CURRENCY.label("currency")).where(_IS)
_BY_ID: Final = select(_DOCUMENT[True], _item.version).where(_IS)
_ON_SALE_BY_ID: Final = select(_DOCUMENT[False], _item.version).where(_IS, _item.is_active)

_total: Final = cast(func.sum(CategoryCount.delta), BigInteger)
_CATEGORY_COUNTS: Final = (
    select(CategoryCount.category, _total.label("count"))
    .group_by(CategoryCount.category)
    .having(_total > literal_column("0"))
    .order_by(CategoryCount.category)
)


def documents(chosen: Chosen) -> Select[Any]:
    """Documents of the items that pass these filters, whose values are parameters, as `currency` is."""
    # Who gets withdrawn items too is staff.
    staff = all(name != "on_sale" for name, _ in chosen)
    return select(_DOCUMENT[staff], _item.id, _item.name).where(*FILTERS.of(chosen))


async def find(session: Session, page: Page, filters: Filters, *, sort: str, withdrawn: bool) -> list[Any]:
    """Documents of items. `sort` is one of _SORTS; `-` before it reverses the order."""
    _, values = filters.chosen(withdrawn=withdrawn)
    return await _LISTS[sort, withdrawn].read(session, page, values, currency=session.currency)


async def find_changed(
    session: Session, page: Page, updated_since: datetime, filters: Filters, *, withdrawn: bool
) -> list[Any]:
    poll = await changes.begin_poll(session, "items", updated_since)
    chosen, values = replace(filters, updated_since=None).chosen(withdrawn=withdrawn)
    values["currency"] = session.currency
    return await changes.find(session, page, poll, documents(chosen), row_id=_item.id, values=values)


async def find_changes(session: Session, page: Page, after: str, *, withdrawn: bool) -> list[Any]:
    """Documents of items and of Removed."""
    return await _CHANGES[withdrawn].read(session, page, after, currency=session.currency)


async def find_removed(
    session: Session, page: Page, updated_since: datetime, *, withdrawn: bool
) -> list[Any]:
    """Rows of Removed."""
    poll = await changes.begin_poll(session, "items", updated_since)
    visible = select(_item.id) if withdrawn else select(_item.id).where(_item.is_active)
    return await changes.find_removed(session, page, poll, visible, sees_all=withdrawn)


async def get(session: Session, item_id: int) -> Record | None:
    """The item, withdrawn or not."""
    return await session.one(_ROW, {"item_id": item_id, "currency": session.currency})


async def get_document(session: Session, item_id: int, *, withdrawn: bool) -> Record | None:
    statement = _BY_ID if withdrawn else _ON_SALE_BY_ID
    return await session.one(statement, {"item_id": item_id, "currency": session.currency})


async def get_products(session: Session, item_ids: Collection[int]) -> dict[int, Record]:
    """id, name, price and is_active of these items, withdrawn ones too, by id; without locks."""
    wanted = bindparam("item_ids", list(item_ids), type_=ARRAY(Item.__table__.c.id.type))
    statement = select(Item.id, Item.name, Item.price, Item.is_active).where(Item.id == func.any(wanted))
    return {row.id: row for row in await session.rows(statement)}


async def get_category_counts(session: Session) -> Sequence[Record]:
    """Category and count of what is on sale, sorted; what has no category is left out."""
    return await session.rows(_CATEGORY_COUNTS)


async def add(session: Session, new: Sequence[New], *, actor_id: int | None) -> list[Record | None]:
    """The new items with their stock, in the order given; None for one whose sku or external id is taken."""
    skus = [item.sku for item in new if item.sku is not None]
    ids: list[int] = []
    while len(ids) < len(new):
        taken = await session.values(_TAKE_IDS, {"count": len(new) - len(ids), "skus": skus})
        ids += sorted(taken)
    values = {
        "ids": ids,
        "skus": [item.sku or f"TP-{item_id}" for item_id, item in zip(ids, new, strict=True)],
        "external_ids": [item.external_id for item in new],
        "names": [item.name for item in new],
        "descriptions": [item.description for item in new],
        "categories": [item.category for item in new],
        "prices": [item.price for item in new],
        "are_active": [item.is_active for item in new],
        "images": [item.images for item in new],
        "attributes": [item.attributes for item in new],
        "metadata": [item.metadata for item in new],
        "quantities": [item.quantity for item in new],
        "reorder_levels": [item.reorder_level for item in new],
        "actor_id": actor_id,
        "currency": session.currency,
    }
    made = {row.id: row for row in await session.rows(_ADD, values)}
    return [made.get(item_id) for item_id in ids]


async def change(session: Session, item_id: int, values: Mapping[str, Any]) -> str | None:
    """Which of UNIQUE another item has, so that nothing was changed; None where all went well.

    The caller holds the locks of item and stock, whose availability is shown anew. The version counts only
    if anything changed. A sku can be taken between any look and the UPDATE, so it is tried, in a savepoint.
    """
    shown = {**values, "availability": _availability}
    changed = or_(*(_item[name].is_distinct_from(value) for name, value in shown.items()))
    given = {_item[name]: value for name, value in shown.items()}
    given |= {_item.version: _item.version + 1, _item.updated_at: func.now()}
    statement = update(Item).where(Item.id == item_id, changed).values(given)
    if not any(name in values for name in UNIQUE):
        await session.execute(statement)
        return None
    try:
        async with session.savepoint():
            await session.execute(statement)
    except UniqueViolationError as fault:
        return next(name for name in UNIQUE if fault.constraint_name == f"uq_items_{name}")
    return None


async def get_ids_by_external_id(session: Session, external_ids: Collection[str]) -> dict[str, int]:
    """The ids of those of these items that exist, withdrawn ones too."""
    statement = select(Item.external_id, Item.id).where(any_of(Item.external_id, external_ids))
    return {row.external_id: row.id for row in await session.rows(statement)}


async def get_ids_by_sku(session: Session, skus: Collection[str]) -> dict[str, int]:
    """The ids of those of these items that exist, withdrawn ones too."""
    rows = await session.rows(select(Item.sku, Item.id).where(any_of(Item.sku, skus)))
    return {row.sku: row.id for row in rows}
