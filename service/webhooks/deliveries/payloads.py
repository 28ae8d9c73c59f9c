"""The body of a delivery: `{type, timestamp, data}` as bytes, the same for every attempt."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

#: Receivers and their gateways may refuse more (the Standard Webhooks specification names 20 kB).
MAX_BYTES: Final = 20_000
#: Texts are truncated to these lengths, one after the other until the body fits.
TEXT_LENGTHS: Final = (4_000, 2_000, 1_000, 400, 100, 40)
ELLIPSIS: Final = "…"
#: A member of `data`, where anything of the object is left out.
SHORTENED: Final = "shortened"


def build_payload(event_type: str, occurred_at: datetime, data: Mapping[str, Any]) -> bytes:
    """Long texts are truncated, and if need be lists: receivers get the whole object from the API."""
    body = _encode(event_type, occurred_at, data)
    if len(body) <= MAX_BYTES:
        return body
    for length in TEXT_LENGTHS:
        data = _truncate(data, length)
        body = _encode(event_type, occurred_at, {**data, SHORTENED: True})
        if len(body) <= MAX_BYTES:
            return body
    elements = _longest_list(data)
    while len(body) > MAX_BYTES and elements > 0:
        elements //= 2
        data = _truncate(data, TEXT_LENGTHS[-1], elements)
        body = _encode(event_type, occurred_at, {**data, SHORTENED: True})
    return body


def _encode(event_type: str, occurred_at: datetime, data: Mapping[str, Any]) -> bytes:
    timestamp = occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    whole = {"type": event_type, "timestamp": timestamp, "data": data}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def _truncate(value: Any, length: int, elements: int | None = None) -> Any:
    """The value with texts of at most `length` characters, and lists of at most so many elements."""
    if isinstance(value, str):
        return value if len(value) <= length else value[: length - 1] + ELLIPSIS
    if isinstance(value, Mapping):
        return {name: _truncate(each, length, elements) for name, each in value.items()}
    if isinstance(value, list):
        return [_truncate(each, length, elements) for each in value[:elements]]
    return value


def _longest_list(value: Any) -> int:
    """The number of elements of the longest list in it."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    own = len(value) if isinstance(value, list) else 0
    return max([own, *map(_longest_list, inner)])
