"""What is sent: `{type, timestamp, data}` as bytes, the same for every try."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

#: Receivers and their gateways may refuse more (the Standard Webhooks specification names 20 kB).
MOST_BYTES: Final = 20_000
#: What texts are cut to, one after the other until it fits.
LENGTHS: Final = (4_000, 2_000, 1_000, 400, 100, 40)
MARK: Final = "…"
#: Beside the object's own members where anything of it is left out.
SHORTENED: Final = "shortened"


def message(event_type: str, occurred_at: datetime, data: Mapping[str, Any]) -> bytes:
    """Long texts are cut, and if need be lists: whoever needs all of it asks the API for the object."""
    body = _written(event_type, occurred_at, data)
    if len(body) <= MOST_BYTES:
        return body
    for length in LENGTHS:
        data = _cut(data, length)
        body = _written(event_type, occurred_at, {**data, SHORTENED: True})
        if len(body) <= MOST_BYTES:
            return body
    most = _longest(data)
    while len(body) > MOST_BYTES and most > 0:
        most //= 2
        data = _cut(data, LENGTHS[-1], most)
        body = _written(event_type, occurred_at, {**data, SHORTENED: True})
    return body


def _written(event_type: str, occurred_at: datetime, data: Mapping[str, Any]) -> bytes:
    timestamp = occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    whole = {"type": event_type, "timestamp": timestamp, "data": data}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def _cut(value: Any, length: int, most: int | None = None) -> Any:
    """The value with no text longer than that, and no list of more elements."""
    if isinstance(value, str):
        return value if len(value) <= length else value[: length - 1] + MARK
    if isinstance(value, Mapping):
        return {name: _cut(each, length, most) for name, each in value.items()}
    if isinstance(value, list):
        return [_cut(each, length, most) for each in value[:most]]
    return value


def _longest(value: Any) -> int:
    """The number of elements of the longest list in it."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    own = len(value) if isinstance(value, list) else 0
    return max([own, *map(_longest, inner)])
