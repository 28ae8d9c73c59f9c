"""Filters of the catalogue: which items a list, a search or a facet is about."""

from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import BigInteger, bindparam, func, literal_column
from sqlalchemy.dialects.postgresql import ARRAY

from service.catalogue.attributes.filters import AttributeFilters
from service.catalogue.attributes.repository import HAS_ATTRIBUTES
from service.catalogue.models import Item
from service.platform.database import sequenced_changes as changes
from service.platform.database.metadata import has_metadata
from service.platform.database.pagination import Chosen, Conditions

#: Written out, not bound: the planner takes a partial index only for a value that it can see.
_OUT_OF_STOCK: Final[Any] = literal_column("'out_of_stock'")

_item: Final = Item.__table__.c


@dataclass(frozen=True, slots=True)
class Filters:
    ids: list[int] | None = None
    sku: str | None = None
    updated_since: datetime | None = None
    category: str | None = None
    in_stock: bool | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    is_active: bool | None = None
    external_id: str | None = None
    #: As JSON.
    metadata: str | None = None
    attributes: AttributeFilters | None = None
    #: The items that a range of numbers leaves, where they are few.
    among: list[int] | None = None

    def chosen(self, *, withdrawn: bool) -> tuple[Chosen, dict[str, Any]]:
        """Which filters are given, and their values. Withdrawn items pass where the caller may see them."""
        values = {
            each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None
        }
        if self.attributes is not None:
            values["attributes"] = self.attributes.path
        if not withdrawn:
            values["on_sale"] = True
        return FILTERS.choose(values), values


#: Those that are of yes or no have a condition for each: the planner must see the value of a partial index.
FILTERS: Final = Conditions(
    {
        "on_sale": _item.is_active,
        "ids": _item.id == func.any(bindparam("ids", type_=ARRAY(BigInteger))),
        "sku": _item.sku == bindparam("sku"),
        "updated_since": changes.changed_since("items", _item.id, bindparam("updated_since")),
        "category": _item.category == bindparam("category"),
        "in_stock": {True: _item.availability != _OUT_OF_STOCK, False: _item.availability == _OUT_OF_STOCK},
        "min_price": _item.price >= bindparam("min_price"),
        "max_price": _item.price <= bindparam("max_price"),
        "is_active": {True: _item.is_active, False: ~_item.is_active},
        "external_id": _item.external_id == bindparam("external_id"),
        "metadata": has_metadata(Item.__table__),
        "attributes": HAS_ATTRIBUTES,
        "among": _item.id == func.any(bindparam("among", type_=ARRAY(BigInteger))),
    }
)
