"""Every statement on items that come in batches: each for all of them."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from asyncpg import UniqueViolationError
from sqlalchemy import BigInteger, Integer, Text, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from service.catalogue.models import Item, Stock
from service.catalogue.repository import COLUMNS, CURRENCY
from service.errors import Contention
from service.platform.database import Record, Session

#: What a batch changes of an item.
CHANGEABLE: Final = (
    "external_id", "name", "description", "category", "price", "is_active", "images", "attributes",
    "metadata", "availability",
)  # fmt: skip

_item: Final = Item.__table__.c
#: The SKUs come from a query, or PostgreSQL would plan the statement again for each number of them.
_SKUS: Final = select(func.unnest(bindparam("skus", type_=ARRAY(Text)))).scalar_subquery()
_LOCK: Final = (
    select(*COLUMNS, Stock.quantity, Stock.reorder_level)
    .join(Stock, Stock.item_id == _item.id)
    .where(_item.sku == func.any(func.array(_SKUS)))
    .order_by(_item.id)
    .with_for_update(key_share=True, of=[Item, Stock])
)
_NEW: Final = ", ".join(CHANGEABLE)
_CHANGE: Final = text(f"""
    UPDATE items SET {", ".join(f"{name} = new.{name}" for name in CHANGEABLE)},
        version = items.version + 1, updated_at = now()
    FROM unnest(:ids, {", ".join(f":{name}" for name in CHANGEABLE)}) AS new (id, {_NEW})
    WHERE items.id = new.id
    RETURNING {", ".join(f"items.{column.name}" for column in COLUMNS)}, :currency AS currency
""").bindparams(
    bindparam("ids", type_=ARRAY(BigInteger)),
    *(bindparam(name, type_=ARRAY(_item[name].type)) for name in CHANGEABLE),
    CURRENCY,
)
_SET_LEVELS: Final = text("""
    UPDATE stock SET reorder_level = new.reorder_level
    FROM unnest(:ids, :levels) AS new (item_id, reorder_level)
    WHERE stock.item_id = new.item_id
""").bindparams(bindparam("ids", type_=ARRAY(BigInteger)), bindparam("levels", type_=ARRAY(Integer)))


async def lock(session: Session, skus: Iterable[str]) -> dict[str, Record]:
    """Those of these items that exist, withdrawn ones too, with quantity and reorder level, by SKU: locked in
    the order of their ids, as orders lock them, until the transaction ends.
    """
    return {row.sku: row for row in await session.rows(_LOCK, {"skus": list(skus)})}


async def change(session: Session, rows: Mapping[int, Mapping[str, Any]]) -> dict[int, Record]:
    """Give items, which are locked, these values of everything in CHANGEABLE; the items by id.

    Raises Contention where another request has given one of the external ids since they were looked for.
    """
    if not rows:
        return {}
    values: dict[str, Any] = {name: [row[name] for row in rows.values()] for name in CHANGEABLE}
    values |= {"ids": list(rows), "currency": session.currency}
    try:
        changed = await session.rows(_CHANGE, values)
    except UniqueViolationError:
        raise Contention("Another request has just given one of these external ids. Send it again.") from None
    return {row.id: row for row in changed}


async def set_reorder_levels(session: Session, levels: Mapping[int, int]) -> None:
    """By item id. What the public sees of the stock may change with it."""
    if levels:
        await session.execute(_SET_LEVELS, {"ids": list(levels), "levels": list(levels.values())})


def values_of(row: Record) -> dict[str, Any]:
    """What the item has of everything in CHANGEABLE."""
    return {name: row[name] for name in CHANGEABLE}
