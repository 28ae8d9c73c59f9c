"""What is wrong with a field: `code` and `detail` in the `errors` of a problem.

pydantic's messages say what a value is not. They are replaced by its type of error, so that the API, the
services and the import say the same: the rule, and what to send instead. None shows what was sent.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_core import PydanticCustomError

#: Each code with its meaning. They are part of the API: one may be added, none changed.
FAULT_CODES: Final[Mapping[str, str]] = {
    # Whatever the field is.
    "missing": "The field or parameter is required.",
    "unknown_field": "The object has no field of this name.",
    "unknown_parameter": "The operation has no query parameter of this name.",
    "repeated_name": "The object has a field of this name twice.",
    "repeated_parameter": "The parameter is given more than once.",
    "wrong_type": "The value has a different type than required, such as text or null for a number.",
    "wrong_format": "The value has the right type in the wrong format.",
    "unknown_value": "The value is not one of the allowed values.",
    "too_short": "Too few characters, or too few elements of a list.",
    "too_long": "Too many characters, or too many elements of a list.",
    "too_small": "The number or the time is below the minimum.",
    "too_large": "The number, the amount or a sum is above the maximum.",
    "too_many_digits": "The number has too many digits.",
    "too_many_decimals": "The number has too many decimal places.",
    "zero": "The number must not be 0.",
    "blank": "The text has no visible character.",
    "forbidden_characters": "The text has characters that are not allowed, such as control characters.",
    "duplicate": "The list has a value twice.",
    "contradiction": "The field contradicts another field.",
    "malformed_json": "The body is not valid JSON.",
    "invalid": "The value breaks another rule; `detail` says which.",
    # Lists.
    "bad_cursor": "The cursor belongs to another list or other filters.",
    "skip_with_cursor": "`skip` and `cursor` exclude each other.",
    "sort_with_search": "Search results are ranked; `sort` cannot be given with `search`.",
    "empty_range": "The lower bound is above the upper one.",
    # Accounts.
    "invalid_email": "The value is not an e-mail address that can receive mail.",
    "unknown_country": "The value is not an ISO 3166-1 alpha-2 country code.",
    "password_too_short": "The password has too few characters.",
    "password_too_long": "The password has too many characters.",
    "password_without_digit": "The password has no digit.",
    "password_too_common": "The password is one of the most common ones.",
    "wrong_password": "The password is not the current one.",
    "invalid_token": "The token from an email is unknown, used, expired or no longer valid.",
    # Catalogue and orders.
    "sku_taken": "Another item has this SKU.",
    "out_of_stock": "The stock is too low.",
    "two_forms": "`lines` and the fields of a single product exclude each other.",
    "unknown_product": "The product does not exist.",
    "item_withdrawn": "The product is no longer for sale.",
    "unknown_user": "The customer does not exist.",
    "too_many": "All lines of the product together have more units than a single line may have.",
    "overnight_minimum": "The goods are below the minimum value for overnight shipping.",
    # Webhooks.
    "malformed": "The value is not a valid URL of a webhook.",
    "plain_http": "The URL is not https.",
    "bad_port": "The port is neither 443 nor 1024 or higher.",
    "unresolvable": "The host name does not resolve to an address.",
    "private_address": "The host has an address that is not public.",
}
#: Codes by pydantic's types of error, where the two differ.
_BY_TYPE: Final[Mapping[str, str]] = {
    "extra_forbidden": "unknown_field",
    "none_required": "wrong_type",
    "date_from_datetime_inexact": "wrong_format",
    "model_attributes_type": "wrong_type",
    "string_sub_type": "wrong_type",
    "int_from_float": "wrong_type",
    "string_pattern_mismatch": "wrong_format",
    "string_unicode": "forbidden_characters",
    "string_too_short": "too_short",
    "string_too_long": "too_long",
    "greater_than": "too_small",
    "greater_than_equal": "too_small",
    "less_than": "too_large",
    "less_than_equal": "too_large",
    "int_parsing_size": "too_large",
    "decimal_max_digits": "too_many_digits",
    "decimal_whole_digits": "too_many_digits",
    "decimal_max_places": "too_many_decimals",
    "finite_number": "wrong_format",
    "literal_error": "unknown_value",
    "enum": "unknown_value",
    "datetime_object_invalid": "wrong_format",
    "timezone_aware": "wrong_format",
    "url_scheme": "wrong_format",
    "url_too_long": "too_long",
}


def invalid(code: str, advice: str) -> PydanticCustomError:
    """For validators to raise: a code of this list, and the detail."""
    return PydanticCustomError(code, "{advice}", {"advice": advice})


def code_of(fault: Mapping[str, Any]) -> str:
    """The code for an error as pydantic's `errors()` lists it."""
    kind = str(fault["type"])
    if kind in FAULT_CODES:
        return kind
    if kind == "value_error" and str(fault["msg"]).startswith("value is not a valid email"):
        return "invalid_email"
    if kind.endswith("_type"):
        return "wrong_type"
    if kind.endswith("_parsing"):
        return "wrong_format"
    return _BY_TYPE.get(kind, "invalid")


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

#: By pydantic's type of error; the names in braces are those of its context.
_MESSAGES: Final[Mapping[str, str]] = {
    "extra_forbidden": UNKNOWN_FIELD,
    "none_required": "Leave this field out, or send null.",
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dict_type": _OBJECT,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "too_short": "Send a list of at least {min_length} elements.",
    "too_long": "Send a list of at most {max_length} elements.",
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
    """The detail for an error as pydantic's `errors()` lists it."""
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
    text = str(fault["msg"]).removeprefix("Value error, ")
    if text.startswith("value is not a valid email"):
        # What the e-mail library says after the colon quotes characters of the address.
        return "Send an e-mail address such as name@example.com."
    return text


def _missing(location: Sequence[int | str]) -> str:
    place, *names = location or ("",)
    if place == "body" and not names:
        return "Send a body: a JSON object with the fields of this operation."
    return {"query": "Required: send this parameter.", "header": "Required: send this header."}.get(
        str(place), REQUIRED
    )


def _plain(value: Any) -> str:
    return str(value).replace("'", "").replace(" or ", ", ")
