"""Query parameters with names of the client's in them, such as `attributes[color]=red`.

OpenAPI describes them as one object, in the style deepObject. FastAPI has no such parameters: a route adds
what `described` returns to its documentation, and a dependency asks for the `members`.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import Request


def described(
    name: str,
    description: str,
    *,
    names: str,
    values: Mapping[str, Any],
    most: int,
    example: Mapping[str, Any],
) -> dict[str, Any]:
    """The parameter, of which each member has a name of the pattern `names`, and a value of this schema."""
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "style": "deepObject",
        "explode": True,
        "schema": {
            "type": "object",
            "propertyNames": {"pattern": names},
            "additionalProperties": dict(values),
            "maxProperties": most,
            "examples": [dict(example)],
        },
    }


def members(request: Request, name: str) -> dict[str, str]:
    """The values that were sent, by the names in the brackets."""
    if not request.scope["query_string"]:
        return {}
    start = f"{name}["
    sent = request.query_params.multi_items()
    return {key[len(start) : -1]: value for key, value in sent if key.startswith(start) and key.endswith("]")}


def object_of(parameter: str) -> str | None:
    """The name of the object, if a parameter's name is that of a member of one."""
    name, bracket, _ = parameter.partition("[")
    return name if bracket and parameter.endswith("]") else None
