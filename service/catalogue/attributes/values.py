"""What attributes an item may have: names of a pattern, and values that are text, numbers, or true or false.

A number has at most nine digits before the decimal point and six after it: so many every parser of JSON keeps
exactly, also one that makes a binary float of it. So it is a JSON number, and not text as amounts are.
"""

import re
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainValidator, StringConstraints, WithJsonSchema
from pydantic_core import from_json

from service.platform.http import text_validation
from service.platform.http.field_errors import invalid

MAX_ATTRIBUTES: Final = 50
MAX_TEXT: Final = 200
#: Of a number: before the decimal point, and after it.
DIGITS: Final = 9
DECIMALS: Final = 6
NAME_PATTERN: Final = "^[a-z][a-z0-9_]{0,49}$"
NUMBER_PATTERN: Final = r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,6})?"
EXAMPLE: Final[dict[str, Any]] = {"color": "red", "weight_kg": 0.75, "organic": True}

Value = str | bool | int | float
_ENDS: Final = re.compile(rf"\A[{text_validation.SPACES}]+|[{text_validation.SPACES}]+\Z")
_NAME: Final = re.compile(NAME_PATTERN)


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def _value(value: Any) -> Value:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int | float | Decimal):
        return _number(Decimal(str(value)))
    raise invalid("wrong_type", "Send text, a number, or true or false.")


def _value_or_none(value: Any) -> Value | None:
    return None if value is None else _value(value)


def text(value: str) -> str:
    if len(value) > MAX_TEXT:
        raise invalid("too_long", f"Send at most {MAX_TEXT} characters.")
    return text_validation.line(_ENDS.sub("", value))


def _number(number: Decimal) -> int | float:
    """In one form: 42 for 42.0, and 0 for -0."""
    if not number.is_finite():
        raise invalid("wrong_format", "Send a number, such as 0.75.")
    if number and number.adjusted() >= DIGITS:
        raise invalid("too_many_digits", f"Send at most {DIGITS} digits before the decimal point.")
    if number != (rounded := round(number, DECIMALS)):
        raise invalid("too_many_decimals", f"Send at most {DECIMALS} decimal places.")
    return int(rounded) if rounded == rounded.to_integral_value() else float(rounded)


TEXT_SCHEMA: Final = {"type": "string", "maxLength": MAX_TEXT, "pattern": text_validation.LINE}
_NUMBER_SCHEMA: Final = {
    "type": "number",
    "exclusiveMinimum": -(10**DIGITS),
    "exclusiveMaximum": 10**DIGITS,
    "multipleOf": float(Decimal(1).scaleb(-DECIMALS)),
}
_SCHEMAS: Final[list[dict[str, Any]]] = [TEXT_SCHEMA, _NUMBER_SCHEMA, {"type": "boolean"}]
#: Of an attribute that goes out.
VALUE_SCHEMA: Final[dict[str, Any]] = {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]}


def _documented(*values: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": NAME_PATTERN},
            "additionalProperties": {"anyOf": [*values]},
            "maxProperties": MAX_ATTRIBUTES,
        }
    )


_Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
_DESCRIPTION: Final = (
    "Names begin with a letter and have at most 50 of `a-z`, `0-9` and `_`. A value is text of one line, a"
    " number with at most 6 decimal places, or `true` or `false`."
)
AttributesIn = Annotated[
    dict[_Name, Annotated[Any, PlainValidator(_value)]],
    Field(max_length=MAX_ATTRIBUTES, description=_DESCRIPTION, examples=[EXAMPLE]),
    _documented(*_SCHEMAS),
]
#: A merge patch (RFC 7396).
AttributesPatch = Annotated[
    dict[_Name, Annotated[Any, PlainValidator(_value_or_none)]],
    Field(max_length=MAX_ATTRIBUTES, description=_DESCRIPTION, examples=[{"color": "blue", "organic": None}]),
    _documented(*_SCHEMAS, {"type": "null"}),
]
#: From a row, which has them as text of JSON.
Attributes = Annotated[
    dict[str, Any],
    BeforeValidator(lambda stored: from_json(stored) if isinstance(stored, str) else stored),
    Field(description="Up to 50 values by name, in the order in which they were added.", examples=[EXAMPLE]),
    WithJsonSchema({"type": "object", "additionalProperties": VALUE_SCHEMA}),
]
