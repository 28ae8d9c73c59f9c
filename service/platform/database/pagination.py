"""Keyset cursors: opaque, bound to the list and the filters they came from, signed.

A cursor holds the sort values of the last row shown, so that page 10,000 costs what page 1 costs
and rows inserted meanwhile shift nothing.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, Select, bindparam, tuple_

from service.errors import FieldFault, Unprocessable
from service.platform.crypto import same, sign
from service.platform.database import Session

DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 100
MAX_SKIP: Final = 10_000
TAG_BYTES: Final = 16


@dataclass(slots=True)
class Page:
    """Which part of a list is asked for, and, once read, where the next one starts.

    `after` holds the sort values of the row before the first one wanted, or None at the start.
    A reader takes `limit + 1` rows (`fetch`) and hands them to `cut`, which keeps `limit` and
    notes whether there are more.
    """

    limit: int = DEFAULT_LIMIT
    skip: int = 0
    after: tuple[Any, ...] | None = None
    #: Sort values of the last row kept, or None when nothing follows it.
    next: tuple[Any, ...] | None = field(default=None, init=False)
    #: Of a search: whether it ended before it had looked at all that may match.
    partial: bool = field(default=False, init=False)
    #: Of a list of changes: where the next poll starts.
    mark: datetime | None = field(default=None, init=False)

    @property
    def fetch(self) -> int:
        return self.limit + 1

    def cut(self, rows: Sequence[Any], *sort_columns: str) -> list[Any]:
        """The rows to show. `sort_columns` name the attributes the next cursor is made of."""
        shown = list(rows[: self.limit])
        if len(rows) > self.limit:
            self.next = tuple(getattr(shown[-1], column) for column in sort_columns)
        return shown


#: The filters that have a value, by name; and that value where it decides which condition is meant.
Chosen = tuple[tuple[str, Any], ...]


class Conditions:
    """Filters by name: each a condition, or one for each value where the planner must see the value."""

    def __init__(
        self, by_name: Mapping[str, ColumnElement[bool] | Mapping[Any, ColumnElement[bool]]]
    ) -> None:
        self._by_name = by_name

    def choose(self, values: Mapping[str, Any]) -> Chosen:
        """What is None is not filtered by."""
        return tuple(
            (name, value if isinstance(self._by_name[name], Mapping) else None)
            for name, value in values.items()
            if value is not None
        )

    def of(self, chosen: Chosen) -> list[ColumnElement[bool]]:
        found = ((self._by_name[name], choice) for name, choice in chosen)
        return [each[choice] if isinstance(each, Mapping) else each for each, choice in found]


class PagedSelect:
    """The statement of a list in pages, with those of its filters that have a value.

        _ORDERS = PagedSelect(
            select(...), Order.placed_at, Order.id, falling=True,
            filters=Conditions({"status": Order.status == bindparam("status")}),
        )
        rows = await _ORDERS.read(session, page, {"status": "paid"})

    It is built once for each set of filters, because to build one costs more than to run it. The rows have
    the columns that they are sorted by, whose values are the cursor.
    """

    def __init__(
        self, rows: Select[*tuple[Any, ...]], *sort: Any, falling: bool, filters: Conditions
    ) -> None:
        bounded = rows.limit(bindparam("fetch", type_=Integer)).offset(bindparam("skip", type_=Integer))
        self._whole = bounded.order_by(*(column.desc() if falling else column for column in sort))
        self._filters, self._names = filters, [column.key for column in sort]
        self._keys = [f"after_{name}" for name in self._names]
        last = [bindparam(key, type_=column.type) for key, column in zip(self._keys, sort, strict=True)]
        self._after = tuple_(*sort) < tuple_(*last) if falling else tuple_(*sort) > tuple_(*last)
        self._built: dict[tuple[bool, Chosen], Select[Any]] = {}

    async def read(self, session: Session, page: Page, values: Mapping[str, Any]) -> list[Any]:
        """The rows of the page. `values` are those of the filters; what is None is not filtered by."""
        chosen, goes_on = self._filters.choose(values), page.after is not None
        statement = self._built.get((goes_on, chosen))
        if statement is None:
            statement = self._build(chosen, goes_on=goes_on)
        parameters = {**values, "fetch": page.fetch, "skip": page.skip}
        if page.after is not None:
            parameters |= zip(self._keys, page.after, strict=True)
        return page.cut(await session.rows(statement, parameters), *self._names)

    def _build(self, chosen: Chosen, *, goes_on: bool) -> Select[Any]:
        conditions = self._filters.of(chosen)
        statement = self._whole.where(*conditions, *([self._after] if goes_on else []))
        self._built[goes_on, chosen] = statement
        return statement


class Cursors:
    """Encodes cursors under a key of the installation's own; decodes those of accepted keys as well."""

    def __init__(self, key: bytes, *accepted: bytes) -> None:
        self._key, self._accepted = key, accepted

    def encode(self, scope: str, values: tuple[Any, ...]) -> str:
        """`scope` names the list and its filters: the cursor is good for nothing else."""
        payload = json.dumps([_plain(value) for value in values], separators=(",", ":")).encode()
        return _text(_tag(self._key, scope, payload) + payload)

    def decode(self, scope: str, cursor: str) -> tuple[Any, ...]:
        """Raises Unprocessable for a cursor that was made up, changed, or belongs to another list."""
        try:
            raw = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError) as fault:
            raise _refusal() from fault
        tag, payload = raw[:TAG_BYTES], raw[TAG_BYTES:]
        if _text(raw) != cursor:  # The last character's spare bits and padding are no part of what is signed.
            raise _refusal()
        if not any(same(tag, _tag(key, scope, payload)) for key in (self._key, *self._accepted)):
            raise _refusal()
        return tuple(_rich(value) for value in json.loads(payload))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _tag(key: bytes, scope: str, payload: bytes) -> bytes:
    return sign(key, scope.encode() + b"\0" + payload)


def _refusal() -> Unprocessable:
    detail = "The cursor is not of this list with these filters. Take the URL from the Link header."
    return Unprocessable(detail, errors=(FieldFault("?cursor", detail, "bad_cursor"),))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"t": value.isoformat()}
    if isinstance(value, Decimal):
        return {"d": str(value)}
    return value


def _rich(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return datetime.fromisoformat(value["t"]) if "t" in value else Decimal(value["d"])
