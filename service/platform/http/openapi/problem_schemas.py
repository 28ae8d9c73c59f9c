"""The schemas of errors: of every problem, and of those that have members of their own."""

from collections.abc import Iterator
from typing import Any, Final

from service.errors import ServiceError
from service.platform.http.field_errors import FAULT_CODES

Json = dict[str, Any]

PROBLEM: Final = "#/components/schemas/Problem"

FIELD_FAULT_SCHEMA: Final[Json] = {
    "type": "object",
    "title": "FieldFault",
    "description": "One fault of one field or parameter.",
    "required": ["pointer", "detail", "code"],
    "properties": {
        "pointer": {
            "type": "string",
            "description": "A JSON pointer into the body (RFC 6901), `?name` for a query parameter, or"
            " `{name}` for a path parameter.",
            "examples": ["/lines/0/quantity"],
        },
        "detail": {"type": "string", "examples": ["Send a value of 1 or more."]},
        "code": {
            "type": "string",
            "description": "A stable identifier of the fault. More may be added.\n\n"
            + "\n".join(f"- `{code}`: {meaning}" for code, meaning in FAULT_CODES.items()),
            "examples": ["too_small"],
        },
    },
}
PROBLEM_SCHEMA: Final[Json] = {
    "type": "object",
    "title": "Problem",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance", "code"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:tradepost:problem:not_found"]},
        "title": {"type": "string", "examples": ["Not found"]},
        "status": {"type": "integer", "examples": [404]},
        "detail": {
            "type": "string",
            "examples": ["The item does not exist, or is withdrawn from sale. Check its id."],
        },
        "instance": {"type": "string", "description": "The request id.", "examples": ["5f0c9a6f4be24b0d"]},
        "code": {
            "type": "string",
            "description": "A stable identifier of the error.",
            "examples": ["not_found"],
        },
        "errors": {
            "type": "array",
            "description": "The faulty fields and parameters, at most 50.",
            "items": {"$ref": "#/components/schemas/FieldFault"},
        },
        "errors_omitted": {
            "type": "integer",
            "description": "The number of faults that `errors` does not list.",
            "examples": [550],
        },
    },
}
OAUTH_ERROR_SCHEMA: Final[Json] = {
    "type": "object",
    "title": "OAuthError",
    "description": "An OAuth 2.0 error (RFC 6749, section 5.2).",
    "required": ["error"],
    "properties": {
        "error": {"type": "string", "examples": ["invalid_grant"]},
        "error_description": {"type": "string"},
    },
}


def typed_errors(base: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    """The classes of errors whose problems have members beside the standard ones."""
    for each in base.__subclasses__():
        if "members" in vars(each):
            yield each
        yield from typed_errors(each)


def schema_name(error: type[ServiceError]) -> str:
    return f"{error.__name__}Problem"


def schemas() -> Json:
    """The components; each stands alone, because few generators understand `allOf` with a narrower code."""
    typed = {schema_name(error): _typed(error) for error in sorted(typed_errors(), key=schema_name)}
    return {
        "Problem": PROBLEM_SCHEMA,
        "FieldFault": FIELD_FAULT_SCHEMA,
        "OAuthError": OAUTH_ERROR_SCHEMA,
        **typed,
    }


def _typed(error: type[ServiceError]) -> Json:
    code = {**PROBLEM_SCHEMA["properties"]["code"], "const": error.code, "examples": [error.code]}
    return {
        **PROBLEM_SCHEMA,
        "title": schema_name(error),
        "description": f"{error.title}.",
        "required": [*PROBLEM_SCHEMA["required"], *error.members],
        "properties": {**PROBLEM_SCHEMA["properties"], "code": code, **error.members},
    }


def problem_content(*errors: type[ServiceError]) -> Json:
    """The schema of an answer that may be any problem, and knows these best."""
    typed = [{"$ref": f"#/components/schemas/{schema_name(error)}"} for error in errors]
    return {"anyOf": [*typed, {"$ref": PROBLEM}]} if typed else {"$ref": PROBLEM}
