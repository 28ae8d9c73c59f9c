"""What is told of a faulty value: the rule, and what to send instead.

pydantic's own messages say what a value is not. They are replaced by the type of the fault, so that the
API, the services and the import tell the same. None of them shows what was sent.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

REQUIRED: Final = "Required: send this field."
UNKNOWN_FIELD: Final = "Unknown field: correct its name or leave it out."
WHOLE_NUMBER: Final = "Send a whole number in digits, such as 12."
UNICODE: Final = "Send valid Unicode text, without half of a surrogate pair."

_NUMBER: Final = "Send a number, such as 18.00."
_INSTANT: Final = "Send a time with its offset from UTC, such as 2026-11-22T10:30:00Z."
_DAY: Final = "Send a day such as 2026-11-22."
_FLAG: Final = "Send true or false."
_TEXT: Final = "Send text in quotes."
_OBJECT: Final = "Send a JSON object, with its fields in braces."
_LIST: Final = "Send a JSON array, in square brackets."

#: By pydantic's type of the fault; the names in braces are those of its context.
_MESSAGES: Final[Mapping[str, str]] = {
    "extra_forbidden": UNKNOWN_FIELD,
    "none_required": "Leave this out, or send null.",
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dict_type": _OBJECT,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "too_short": "Send a list of {min_length} or more.",
    "too_long": "Send a list of at most {max_length}.",
    "string_type": _TEXT,
    "string_sub_type": _TEXT,
    "string_unicode": UNICODE,
    "string_too_short": "Send at least {min_length} characters; spaces at the ends do not count.",
    "string_too_long": "Send at most {max_length} characters.",
    "string_pattern_mismatch": "Send text that matches {pattern}",
    "int_type": WHOLE_NUMBER,
    "int_parsing": WHOLE_NUMBER,
    "int_parsing_size": WHOLE_NUMBER,
    "int_from_float": WHOLE_NUMBER,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "decimal_type": _NUMBER,
    "decimal_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "decimal_max_digits": "Send at most {max_digits} digits.",
    "decimal_max_places": "Send at most {decimal_places} decimal places.",
    "decimal_whole_digits": "Send at most {whole_digits} digits before the decimal point.",
    "greater_than": "Send a value greater than {gt}.",
    "greater_than_equal": "Send a value of {ge} or more.",
    "less_than": "Send a value less than {lt}.",
    "less_than_equal": "Send a value of {le} or less.",
    "multiple_of": "Send a multiple of {multiple_of}.",
    "bool_type": _FLAG,
    "bool_parsing": _FLAG,
    "literal_error": "Send one of these: {expected}.",
    "enum": "Send one of these: {expected}.",
    "date_type": _DAY,
    "date_parsing": _DAY,
    "date_from_datetime_parsing": _DAY,
    "date_from_datetime_inexact": _DAY,
    "datetime_type": _INSTANT,
    "datetime_parsing": _INSTANT,
    "datetime_from_date_parsing": _INSTANT,
    "datetime_object_invalid": _INSTANT,
    "timezone_aware": _INSTANT,
    "url_type": "Send a URL such as https://shop.example/hooks.",
    "url_parsing": "Send a URL such as https://shop.example/hooks.",
    "url_scheme": "Send a URL that starts with {expected_schemes}.",
    "url_too_long": "Send a URL of at most {max_length} characters.",
}


def message(fault: Mapping[str, Any]) -> str:
    """What to tell of a fault as pydantic's `errors()` lists it."""
    if fault["type"] == "missing":
        return _missing(fault["loc"])
    context = fault.get("ctx", {})
    if "advice" in context:
        return str(context["advice"])
    kind = fault["type"]
    if kind in {"too_short", "too_long"} and context["field_type"] == "Value":
        kind = f"string_{kind}"  # of text that has been stripped before it was measured
    known = _MESSAGES.get(kind)
    if known is not None:
        return known.format_map({name: _plain(value) for name, value in context.items()})
    told = str(fault["msg"]).removeprefix("Value error, ")
    if told.startswith("value is not a valid email"):
        # What the e-mail library says after the colon quotes characters of the address.
        return "Send an e-mail address such as name@example.com."
    return told


def _missing(location: Sequence[int | str]) -> str:
    place, *names = location or ("",)
    if place == "body" and not names:
        return "Send a body: a JSON object with the fields of this operation."
    return {"query": "Required: send this parameter.", "header": "Required: send this header."}.get(
        str(place), REQUIRED
    )


def _plain(value: Any) -> str:
    return str(value).replace("'", "").replace(" or ", ", ")
