"""Keyset cursors: opaque, bound to the list and the filters they came from, signed.

A cursor holds the sort values of the last row shown, so that page 10,000 costs what page 1 costs
and rows inserted meanwhile shift nothing.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from service.errors import FieldFault, Unprocessable
from service.platform.crypto import same, sign

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


class Cursors:
    """Encodes cursors under a key of the installation's own; decodes those of accepted keys as well."""

    def __init__(self, key: bytes, *accepted: bytes) -> None:
        self._key, self._accepted = key, accepted

    def encode(self, scope: str, values: tuple[Any, ...]) -> str:
        """`scope` names the list and its filters: the cursor is good for nothing else."""
        payload = json.dumps([_plain(value) for value in values], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(_tag(self._key, scope, payload) + payload).rstrip(b"=").decode()

    def decode(self, scope: str, cursor: str) -> tuple[Any, ...]:
        """Raises Unprocessable for a cursor that was made up, changed, or belongs to another list."""
        try:
            raw = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError) as fault:
            raise _refusal() from fault
        tag, payload = raw[:TAG_BYTES], raw[TAG_BYTES:]
        if not any(same(tag, _tag(key, scope, payload)) for key in (self._key, *self._accepted)):
            raise _refusal()
        return tuple(_rich(value) for value in json.loads(payload))


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
