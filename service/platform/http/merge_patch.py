"""Objects that a JSON merge patch (RFC 7396) changes member by member, and their form in rows."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json


def merged(before: Mapping[str, Any], patch: Mapping[str, Any] | None) -> dict[str, Any]:
    """The object after the patch: null removes a member, or all."""
    whole = {} if patch is None else {**before, **patch}
    return {name: value for name, value in whole.items() if value is not None}


def stored(value: Any) -> str:
    """The JSON that is stored, and sent as it is."""
    return to_json(value).decode()
