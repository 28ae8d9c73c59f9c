"""The words that tell faults of fields apart: `code` in `errors` of a problem. This is the whole list."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import PydanticCustomError

#: Each word with what it means. They are part of the API: one may be added, none changed.
FAULT_CODES: Final[Mapping[str, str]] = {
    # Whatever the field is.
    "missing": "It is required.",
    "unknown_field": "There is no field of this name here.",
    "unknown_parameter": "There is no query parameter of this name here.",
    "repeated_name": "An object has this name twice.",
    "repeated_parameter": "The parameter is given more than once.",
    "wrong_type": "Another type of value is needed, such as a number or a list; null is a type too.",
    "wrong_format": "It is of the right type, and not written as is needed.",
    "unknown_value": "It is none of the values that there are.",
    "too_short": "Too few characters, or too few elements of a list.",
    "too_long": "Too many characters, or too many elements of a list.",
    "too_small": "The number, or the moment, is below what is accepted.",
    "too_large": "The number, the amount or a sum is above what is accepted.",
    "too_many_digits": "The number has more digits than are accepted.",
    "too_many_decimals": "The number has more decimal places than are accepted.",
    "zero": "It must not be 0.",
    "blank": "The text has nothing that can be read.",
    "forbidden_characters": "The text has characters that are not accepted, such as control characters.",
    "duplicate": "The list has a value twice.",
    "contradiction": "It does not go together with another field.",
    "malformed_json": "The body is not JSON.",
    "invalid": "It breaks another rule; `detail` says which.",
    # Lists.
    "bad_cursor": "The cursor is not one of this list with these filters.",
    "skip_with_cursor": "`skip` and `cursor` exclude each other.",
    "sort_with_search": "Search results are ranked; `sort` cannot be given with `search`.",
    "empty_range": "The lower bound is above the upper one.",
    # Accounts.
    "invalid_email": "No e-mail address, or one that cannot receive.",
    "unknown_country": "No ISO 3166-1 alpha-2 code of a country.",
    "password_too_short": "A password needs more characters.",
    "password_too_long": "A password has too many characters.",
    "password_without_digit": "A password needs a digit.",
    "password_too_common": "The password is one of the most common ones.",
    "wrong_password": "It is not the current password.",
    "invalid_token": "The token of an e-mail is unknown, used, expired or void.",
    # Catalogue and orders.
    "sku_taken": "Another item has this SKU.",
    "out_of_stock": "There are not so many units.",
    "two_forms": "An order has `lines`, or the fields of a single product, not both.",
    "unknown_product": "There is no such product.",
    "item_withdrawn": "The product is no longer for sale.",
    "unknown_user": "There is no such customer.",
    "too_many": "The lines of one product are more units together than one line may have.",
    "overnight_minimum": "The goods are worth less than overnight shipping needs.",
    # Webhooks.
    "malformed": "No address that a webhook can have.",
    "plain_http": "The address is not https.",
    "bad_port": "The port is neither 443 nor one from 1024 on.",
    "unresolvable": "The host's name leads to no address.",
    "private_address": "The host has an address that is not public.",
}
#: What pydantic calls a fault, where the word is not ours already.
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
    """For validators to raise: a fault under a word of this list, and what is told of it."""
    return PydanticCustomError(code, "{advice}", {"advice": advice})


def code_of(fault: Mapping[str, Any]) -> str:
    """Our word for a fault as pydantic's `errors()` lists it."""
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
