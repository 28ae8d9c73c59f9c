"""What the tests of abuse share: routes by what stands in them, answers without what differs by request."""

from collections.abc import Iterator
from typing import Any, Final

import asyncpg
import httpx2

from service.platform.http.openapi.components import resolved
from tests.contract.routes import CALLERS, ROUTES, Route
from tests.contract.test_bad_input import DOCUMENT, checksum
from tests.helpers.client import V1

SCHEMAS: Final[dict[str, Any]] = DOCUMENT["components"]["schemas"]
#: No request has had so many yet.
NOWHERE: Final = 2_000_000_000


def expected(route: Route, caller: str) -> int:
    return route.expects[CALLERS.index(caller)]


#: Every route of an object that another customer must not even know of.
OWNED: Final = tuple(route for route in ROUTES if "{" in route.template and expected(route, "other") == 404)
#: Every route for staff.
STAFF: Final = tuple(
    route for route in ROUTES if expected(route, "owner") == 403 and route.template.startswith(V1)
)


def shown(answer: httpx2.Response) -> dict[str, Any]:
    """What an answer says, without what each has of its own."""
    problem: dict[str, Any] = answer.json()
    return {"status": answer.status_code} | {name: problem[name] for name in problem if name != "instance"}


async def stored(sql: asyncpg.Connection, tables: list[str]) -> dict[str, str]:
    """A sum over the rows of each table; of API keys is also stored when they were last used."""
    return await checksum(sql, [table for table in tables if table != "api_keys"])


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation of each of the document."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def parameters(operation: dict[str, Any]) -> list[dict[str, Any]]:
    return [resolved(DOCUMENT["components"], each) for each in operation.get("parameters", ())]


def alternatives(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a schema allows, without references and unions."""
    if "$ref" in schema:
        yield from alternatives(SCHEMAS[schema["$ref"].rpartition("/")[2]])
        return
    unions = [each for kind in ("anyOf", "oneOf", "allOf") for each in schema.get(kind, ())]
    for each in unions:
        yield from alternatives(each)
    if not unions or "properties" in schema:
        yield schema


def properties(schema: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The properties that an object of this schema may have, with the schemas of each."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in alternatives(schema):
        for name, inner in each.get("properties", {}).items():
            found.setdefault(name, []).append(inner)
    return found


def bodies(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schemas of a request's body."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield content["schema"]
