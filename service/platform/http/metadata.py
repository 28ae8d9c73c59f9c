"""Metadata as clients send, see and look for it: what their own systems keep with an object.

Staff and API keys alone get it; in no event, and in no response to others (docs/adr/0059).
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError, from_json

from service.errors import FieldFault, Unprocessable
from service.platform.database.metadata import MAX_BYTES, MAX_KEY, MAX_KEYS, MAX_VALUE
from service.platform.http import text_validation
from service.platform.http.deep_objects import described, members
from service.platform.http.field_errors import invalid
from service.platform.http.merge_patch import merged, stored
from service.platform.http.schemas import FOR_STAFF

NAME: Final = "metadata"
#: In one request.
MAX_FILTERS: Final = 20
_KEY_CHARACTERS: Final = f"[A-Za-z0-9_.:-]{{1,{MAX_KEY}}}"
KEY_PATTERN: Final = f"^{_KEY_CHARACTERS}$"
EXAMPLE: Final[dict[str, Any]] = {"channel": "marketplace", "invoice": "RE-2026-114"}
TOO_MUCH: Final = (
    f"Send less: an object's metadata has at most {MAX_BYTES:,} bytes, as compact JSON in UTF-8."
)
TOO_MANY: Final = f"There would be more than {MAX_KEYS} keys: set some of them to `null`."
_DESCRIPTION: Final = (
    f"Up to {MAX_KEYS} values by key, {MAX_BYTES:,} bytes together. A key has at most {MAX_KEY} letters,"
    f" digits and `_`, `-`, `.`, `:`; a value is text of at most {MAX_VALUE} characters."
)
_KEY: Final = re.compile(_KEY_CHARACTERS)
_VALUE_SCHEMA: Final = {"type": "string", "maxLength": MAX_VALUE, "pattern": text_validation.PROSE}


def _key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise invalid(
            "wrong_format",
            f"Send a key of 1 to {MAX_KEY} letters (a to z), digits, and the characters `_`, `-`, `.`, `:`.",
        )
    return key


def _within_limit(sent: dict[str, str]) -> dict[str, str]:
    if len(stored(sent).encode()) > MAX_BYTES:
        raise invalid("too_long", TOO_MUCH)
    return sent


def _documented(description: str, example: dict[str, Any], *values: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "type": "object",
            "description": description,
            "examples": [example],
            "propertyNames": {"pattern": KEY_PATTERN},
            "additionalProperties": values[0] if len(values) == 1 else {"anyOf": [*values]},
            "maxProperties": MAX_KEYS,
        }
    )


_Key = Annotated[str, AfterValidator(_key)]
_Value = Annotated[str, StringConstraints(max_length=MAX_VALUE), AfterValidator(text_validation.prose)]
MetadataIn = Annotated[
    dict[_Key, _Value],
    Field(max_length=MAX_KEYS),
    AfterValidator(_within_limit),
    _documented(_DESCRIPTION, EXAMPLE, _VALUE_SCHEMA),
]
#: A merge patch (RFC 7396).
MetadataPatch = Annotated[
    dict[_Key, _Value | None],
    Field(max_length=MAX_KEYS),
    _documented(
        f"{_DESCRIPTION} Absent keys stay; `null` removes a key, or all.",
        {"invoice": "RE-2026-114", "channel": None},
        _VALUE_SCHEMA,
        {"type": "null"},
    ),
]
#: From a row, which has it as text of JSON.
Metadata = Annotated[
    dict[str, str],
    BeforeValidator(lambda text: from_json(text) if isinstance(text, str) else text),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": f"What the shop's own systems keep with it, by key. {FOR_STAFF}",
            "examples": [EXAMPLE],
        }
    ),
]


def changed(before: str, patch: Mapping[str, str | None] | None) -> str:
    """What the row will have. Raises Unprocessable for more than it may."""
    after = merged(from_json(before), patch)
    if len(after) > MAX_KEYS:
        raise Unprocessable.at(f"/{NAME}", TOO_MANY, "too_long")
    text = stored(after)
    if len(text.encode()) > MAX_BYTES:
        raise Unprocessable.at(f"/{NAME}", TOO_MUCH, "too_long")
    return text


async def get_wanted(request: Request) -> str | None:
    """What the metadata must have, as JSON, of `metadata[key]=value`; None where nothing was sent."""
    wanted = members(request, NAME)
    if not wanted:
        return None
    if len(wanted) > MAX_FILTERS:
        raise Unprocessable.at(f"?{NAME}", f"Send at most {MAX_FILTERS} filters by metadata.", "too_long")
    for key, value in wanted.items():
        try:
            _key(key)
            _wanted_value(value)
        except PydanticCustomError as fault:
            pointer = f"?{NAME}[{key[:MAX_KEY]}]"
            raise Unprocessable(str(fault), errors=(FieldFault(pointer, str(fault), fault.type),)) from None
    return stored(wanted)


def _wanted_value(value: str) -> None:
    if len(value) > MAX_VALUE:
        raise invalid("too_long", f"Send at most {MAX_VALUE} characters.")
    text_validation.prose(value)


#: Of a handler; its route documents PARAMETER.
WantedMetadata = Depends(get_wanted)
PARAMETER: Final = described(
    NAME,
    "Only those with these values in their metadata, such as `metadata[channel]=marketplace`. For"
    " staff and API keys only.",
    names=KEY_PATTERN,
    values=_VALUE_SCHEMA,
    most=MAX_FILTERS,
    example={"channel": "marketplace"},
)
