"""Facets: which values there are to choose from, and how many items each would leave.

A facet is counted under all filters but its own: who has chosen `color=red` still sees how many are blue.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from service.catalogue import search
from service.catalogue.facets import repository as facets
from service.catalogue.facets.schemas import MAX_COUNTED, MAX_FACETS, Facet, FacetValue
from service.catalogue.filters import Filters
from service.catalogue.service import check_prices, is_staff, narrowed
from service.identity import AnyCaller
from service.platform.database import Session


async def find(
    session: Session,
    caller: AnyCaller | None,
    filters: Filters,
    *,
    words: str | None,
    names: Sequence[str] | None,
) -> list[Facet]:
    """The facets of these attributes, in this order; by default of those that are filtered by, and of those
    that most items have.
    """
    check_prices(filters)
    counting = _Counting(session, words, withdrawn=is_staff(caller))
    if names is None:
        names = await counting.names(filters)
    filtered = filters.attributes.names if filters.attributes else set()
    found: dict[str, Facet] = {}
    others = [name for name in names if name not in filtered]
    if others:
        found |= await counting.facets(filters, others)
    for name in filtered.intersection(names):
        assert filters.attributes is not None  # noqa: S101 - it has this name
        found |= await counting.facets(replace(filters, attributes=filters.attributes.without(name)), [name])
    return [found[name] for name in names]


class _Counting:
    def __init__(self, session: Session, words: str | None, *, withdrawn: bool) -> None:
        self._session, self._words, self._withdrawn = session, words, withdrawn

    async def names(self, filters: Filters) -> list[str]:
        first = sorted(filters.attributes.names) if filters.attributes else []
        chosen, values, _ = await self._chosen(filters)
        found = await facets.get_names(
            self._session, chosen, values, searched=self._words is not None, most=MAX_FACETS
        )
        return [*first, *(name for name in found if name not in first)][:MAX_FACETS]

    async def facets(self, filters: Filters, names: Sequence[str]) -> dict[str, Facet]:
        chosen, values, whole = await self._chosen(filters)
        rows = await facets.count(self._session, chosen, values, names, searched=self._words is not None)
        return {name: _facet(name, list(own), whole=whole) for name, own in _by_name(rows)}

    async def _chosen(self, filters: Filters) -> tuple[Any, dict[str, Any], bool]:
        """The conditions, their values, and whether all items that pass them may be found."""
        filters = await narrowed(self._session, filters)
        chosen, values = filters.chosen(withdrawn=self._withdrawn)
        if self._words is None:
            return chosen, values, True
        found = await search.gather(self._session, filters, self._words, withdrawn=self._withdrawn)
        return chosen, {**values, **found.values}, found.whole


def _by_name(rows: Iterable[Any]) -> Iterable[tuple[str, Iterable[Any]]]:
    return groupby(rows, lambda row: row["name"])


def _facet(name: str, rows: Sequence[Any], *, whole: bool) -> Facet:
    first = rows[0]
    values = [FacetValue(value=row["value"], count=row["count"]) for row in rows if row["count"] is not None]
    return Facet(
        name=name,
        counted=first["counted"],
        exact=whole and first["counted"] < MAX_COUNTED,
        values=values,
        least=first["least"],
        most=first["most"],
    )
