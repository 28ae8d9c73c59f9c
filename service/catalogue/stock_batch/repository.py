"""Every statement on stock that comes in batches: each for all of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Integer, Text, bindparam, func, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from service.catalogue.models import Item
from service.catalogue.repository import COLUMNS, CURRENCY
from service.catalogue.schemas import Availability
from service.catalogue.stock.repository import locking
from service.platform.database import Record, Session

_item: Final = Item.__table__.c
_IDS: Final = select(func.unnest(bindparam("item_ids", type_=ARRAY(BigInteger)))).scalar_subquery()
_SKUS: Final = select(func.unnest(bindparam("skus", type_=ARRAY(Text)))).scalar_subquery()
_LOCK: Final = locking(or_(_item.id == func.any(func.array(_IDS)), _item.sku == func.any(func.array(_SKUS))))
_MOVE: Final = text("""
    WITH given AS (
        SELECT * FROM unnest(:item_ids, :deltas, :reorder_levels, :reasons)
        AS rows (item_id, delta, reorder_level, reason)
    ), moved AS (
        UPDATE stock SET quantity = quantity + given.delta, reorder_level = given.reorder_level,
            low_stock_notified_at = CASE WHEN stock.item_id = ANY (:low_ids) THEN now()
                                         ELSE stock.low_stock_notified_at END
        FROM given WHERE stock.item_id = given.item_id
    )
    INSERT INTO stock_movements (item_id, actor_id, kind, delta, reason)
    SELECT item_id, :actor_id, 'adjustment', delta, reason FROM given WHERE delta <> 0
""").bindparams(
    bindparam("item_ids", type_=ARRAY(BigInteger)),
    bindparam("deltas", type_=ARRAY(Integer)),
    bindparam("reorder_levels", type_=ARRAY(Integer)),
    bindparam("reasons", type_=ARRAY(Text)),
    bindparam("low_ids", type_=ARRAY(BigInteger)),
    bindparam("actor_id", type_=BigInteger),
)
_SHOW: Final = text(f"""
    UPDATE items SET availability = shown.availability, version = items.version + 1, updated_at = now()
    FROM unnest(:ids, :availabilities) AS shown (id, availability)
    WHERE items.id = shown.id
    RETURNING {", ".join(f"items.{column.name}" for column in COLUMNS)}, :currency AS currency
""").bindparams(
    bindparam("ids", type_=ARRAY(BigInteger)), bindparam("availabilities", type_=ARRAY(Text)), CURRENCY
)


@dataclass(frozen=True, slots=True)
class Movement:
    """Stock that changes by `delta`, which may be 0, and has this reorder level from then on."""

    delta: int
    reorder_level: int
    reason: str


async def lock(session: Session, item_ids: Iterable[int], skus: Iterable[str]) -> list[Record]:
    """The items with one of these ids or SKUs, locked as `stock.repository.lock` does it."""
    return await session.rows(_LOCK, {"item_ids": list(item_ids), "skus": list(skus)})


async def move(
    session: Session, movements: Mapping[int, Movement], *, low_ids: Sequence[int], actor_id: int | None
) -> None:
    """Change stock, which is locked, by item id, with its entries in the ledger. `low_ids`: of items whose
    stock is now notified of.
    """
    values = {
        "item_ids": list(movements),
        "deltas": [each.delta for each in movements.values()],
        "reorder_levels": [each.reorder_level for each in movements.values()],
        "reasons": [each.reason for each in movements.values()],
        "low_ids": low_ids,
        "actor_id": actor_id,
    }
    await session.execute(_MOVE, values)


async def show(session: Session, shown: Mapping[int, Availability]) -> dict[int, Record]:
    """Have the public see this of the stock of items; the items by id."""
    if not shown:
        return {}
    values = {
        "ids": list(shown),
        "availabilities": list(shown.values()),
        "currency": session.currency,
    }
    return {row.id: row for row in await session.rows(_SHOW, values)}
