"""Statements on the attributes of items, as the tables beside the items have them."""

from typing import Any, Final

from sqlalchemy import Numeric, Text, bindparam, cast, literal_column, select
from sqlalchemy.dialects.postgresql import JSONPATH

from service.catalogue.attributes.filters import Range
from service.catalogue.models import Item, ItemAttributes, ItemNumber
from service.platform.database import Session

#: Items that a range leaves, and still are few: they are sorted, and not looked for in the order of the list.
FEW: Final = 2_000

_number: Final = ItemNumber.__table__.c
_path: Final[Any] = cast(bindparam("attributes", type_=Text), JSONPATH)
#: Whether the attributes of an item pass the filters, whose predicate is a parameter.
HAS_ATTRIBUTES: Final = Item.__table__.c.id.in_(
    select(ItemAttributes.item_id).where(ItemAttributes.attributes.bool_op("@@")(_path))
)
_IN_RANGE: Final = (
    select(_number.item_id)
    .where(
        _number.name == bindparam("name"),
        _number.value >= bindparam("least", type_=Numeric),
        _number.value <= bindparam("most", type_=Numeric),
    )
    .limit(literal_column(str(FEW + 1)))
)


async def find_in_range(session: Session, wanted: Range) -> list[int] | None:
    """The items with such a number; None where they are many."""
    found = await session.values(_IN_RANGE, wanted._asdict())
    return found if len(found) <= FEW else None
