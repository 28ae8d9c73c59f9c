"""The schemas of errors: of every problem, and of those whose code brings members of its own."""

from collections.abc import Mapping
from typing import Any, Final

from service.errors import (
    ItemWithdrawn,
    OutOfStock,
    PriceChanged,
    ServiceError,
    StockBelowZero,
    TooManyReserved,
)
from service.platform.http.field_faults import FAULT_CODES

Json = dict[str, Any]

PROBLEM: Final = "#/components/schemas/Problem"
_AMOUNT: Final[Json] = {"type": "string", "pattern": r"^-?\d+\.\d{2}$", "examples": ["18.00"]}
_PRODUCT: Final[Json] = {"type": "integer", "examples": [48]}

FIELD_FAULT_SCHEMA: Final[Json] = {
    "type": "object",
    "title": "FieldFault",
    "description": "One fault of one field or parameter.",
    "required": ["pointer", "detail", "code"],
    "properties": {
        "pointer": {
            "type": "string",
            "description": "A JSON pointer into the body; `?name` and `{name}` are parameters.",
            "examples": ["/lines/0/quantity"],
        },
        "detail": {"type": "string", "examples": ["Send a value of 1 or more."]},
        "code": {
            "type": "string",
            "description": "A stable word; there may be more one day.\n\n"
            + "\n".join(f"- `{code}`: {meaning}" for code, meaning in FAULT_CODES.items()),
            "examples": ["too_small"],
        },
    },
}
PROBLEM_SCHEMA: Final[Json] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "instance", "code"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:tradepost:problem:not_found"]},
        "title": {"type": "string", "examples": ["Not found"]},
        "status": {"type": "integer", "examples": [404]},
        "detail": {"type": "string", "examples": ["There is no such item."]},
        "instance": {"type": "string", "description": "The request id.", "examples": ["5f0c9a6f4be24b0d"]},
        "code": {"type": "string", "description": "A stable word.", "examples": ["not_found"]},
        "errors": {
            "type": "array",
            "description": "The faults of fields, at most 50.",
            "items": {"$ref": "#/components/schemas/FieldFault"},
        },
        "errors_omitted": {
            "type": "integer",
            "description": "How many more faults there are than `errors` lists.",
            "examples": [550],
        },
    },
}
OAUTH_ERROR_SCHEMA: Final[Json] = {
    "type": "object",
    "title": "OAuthError",
    "description": "RFC 6749, section 5.2.",
    "required": ["error"],
    "properties": {
        "error": {"type": "string", "examples": ["invalid_grant"]},
        "error_description": {"type": "string"},
    },
}


def _each(description: str, **properties: Json) -> Json:
    item = {"type": "object", "required": list(properties), "properties": properties}
    return {"type": "array", "description": description, "items": item}


#: The members that a problem of this class has beside the standard ones; always all of them.
MEMBERS: Final[Mapping[type[ServiceError], Json]] = {
    OutOfStock: {
        "products": _each(
            "Every product that there is not enough of.",
            product_id=_PRODUCT,
            name={"type": "string", "examples": ["Chocolade"]},
            requested={"type": "integer", "examples": [3]},
            left={"type": "integer", "examples": [2]},
        )
    },
    PriceChanged: {
        "prices": _each("Every price that has changed.", product_id=_PRODUCT, yours=_AMOUNT, current=_AMOUNT)
    },
    ItemWithdrawn: {"products": _each("Every product that is no longer for sale.", product_id=_PRODUCT)},
    TooManyReserved: {
        "limit": {
            "type": "integer",
            "description": "The units that unpaid orders may hold.",
            "examples": [200],
        },
        "reserved": {"type": "integer", "description": "Those that they hold.", "examples": [150]},
        "requested": {"type": "integer", "description": "Those of this order.", "examples": [60]},
    },
    StockBelowZero: {"available": {"type": "integer", "description": "The units in stock.", "examples": [4]}},
}


def schema_name(error: type[ServiceError]) -> str:
    return f"{error.__name__}Problem"


def schemas() -> Json:
    """The components; each stands alone, because few generators understand `allOf` with a narrower code."""
    typed = {schema_name(error): _typed(error, members) for error, members in MEMBERS.items()}
    return {
        "Problem": PROBLEM_SCHEMA,
        "FieldFault": FIELD_FAULT_SCHEMA,
        "OAuthError": OAUTH_ERROR_SCHEMA,
        **typed,
    }


def _typed(error: type[ServiceError], members: Json) -> Json:
    code = {**PROBLEM_SCHEMA["properties"]["code"], "const": error.code, "examples": [error.code]}
    return {
        **PROBLEM_SCHEMA,
        "title": schema_name(error),
        "description": f"{error.title}.",
        "required": [*PROBLEM_SCHEMA["required"], *members],
        "properties": {**PROBLEM_SCHEMA["properties"], "code": code, **members},
    }


def problem_content(*errors: type[ServiceError]) -> Json:
    """The schema of an answer that may be any problem, and knows these best."""
    typed = [{"$ref": f"#/components/schemas/{schema_name(error)}"} for error in errors]
    return {"anyOf": [*typed, {"$ref": PROBLEM}]} if typed else {"$ref": PROBLEM}
