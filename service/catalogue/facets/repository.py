"""Statements of facets. Each looks at a bounded number of items, however many pass the filters."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Numeric,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.catalogue.facets.schemas import MAX_COUNTED, MAX_VALUES
from service.catalogue.filters import FILTERS
from service.catalogue.models import Item, ItemAttributes
from service.catalogue.search import IS_FOUND
from service.platform.database import Session
from service.platform.database.pagination import Chosen

_its: Final = ItemAttributes.__table__.alias("its").c
_items: Final = Item.__table__.outerjoin(_its.attributes.table, _its.item_id == Item.__table__.c.id)


def _found(chosen: Chosen, *, searched: bool) -> CTE:
    """The attributes of the items that pass the filters, and of no more than are counted."""
    passing = select(_its.attributes).select_from(_items).where(*FILTERS.of(chosen))
    if searched:
        passing = passing.where(IS_FOUND)
    return passing.limit(literal_column(str(MAX_COUNTED))).cte("found")


@lru_cache(maxsize=256)
def _names(chosen: Chosen, *, searched: bool) -> Select[Any]:
    found = _found(chosen, searched=searched)
    name = func.jsonb_object_keys(found.c.attributes).column_valued("name")
    return (
        select(name)
        .select_from(found)
        .group_by(name)
        .order_by(func.count().desc(), name)
        .limit(bindparam("most_facets", type_=Integer))
    )


@lru_cache(maxsize=256)
def _counts(chosen: Chosen, *, searched: bool) -> Select[Any]:
    found = _found(chosen, searched=searched)
    names = func.unnest(bindparam("names", type_=ARRAY(Text)))
    wanted = names.table_valued("name", name="wanted").render_derived()
    value: ColumnElement[Any] = found.c.attributes.op("->")(wanted.c.name)
    groups = (
        select(wanted.c.name, value.label("value"), func.count(type_=Integer).label("count"))
        .select_from(found.join(wanted, true()))
        .where(value.is_not(None))
        .group_by(wanted.c.name, value)
        .subquery("groups")
    )
    is_number = func.jsonb_typeof(groups.c.value) == literal_column("'number'")
    number = case((is_number, cast(cast(groups.c.value, Text), Numeric)))
    each: dict[str, Any] = {"partition_by": groups.c.name}
    ranked = select(
        groups,
        func.row_number(type_=Integer)
        .over(**each, order_by=(groups.c.count.desc(), groups.c.value))
        .label("place"),
        func.min(number).over(**each).label("least"),
        func.max(number).over(**each).label("most"),
    ).subquery("ranked")
    counted = select(func.count(type_=Integer)).select_from(found).scalar_subquery()
    return (
        select(wanted.c.name, counted.label("counted"), *(ranked.c[name] for name in _OF_A_VALUE))
        .select_from(wanted.outerjoin(ranked, ranked.c.name == wanted.c.name))
        .where(func.coalesce(ranked.c.place, literal_column("1")) <= literal_column(str(MAX_VALUES)))
        .order_by(wanted.c.name, ranked.c.place)
    )


_OF_A_VALUE: Final = ("value", "count", "least", "most")


async def get_names(
    session: Session, chosen: Chosen, values: Mapping[str, Any], *, searched: bool, most: int
) -> list[str]:
    """The names of attributes that most of these items have, the most frequent first."""
    return await session.values(_names(chosen, searched=searched), {**values, "most_facets": most})


async def count(
    session: Session, chosen: Chosen, values: Mapping[str, Any], names: Sequence[str], *, searched: bool
) -> list[Any]:
    """A row for each value of these attributes, with what is the same for all of its facet. An attribute that
    no item has is a row without a value.
    """
    return await session.rows(_counts(chosen, searched=searched), {**values, "names": list(names)})
