"""API3:2023 Broken Object Property Level Authorization: what is shown of an object, and what may be set."""

from collections.abc import Iterator
from typing import Any, Final

import asyncpg
import pytest

from service.platform.http.openapi.components import resolved
from tests.abuse.walking import SCHEMAS, alternatives, expected, operations, properties, stored
from tests.contract.routes import CALLERS, HOME, ROUTES, Route
from tests.contract.test_bad_input import API, DOCUMENT, WITH_JSON, body_schema, operation
from tests.helpers.factories import Make

pytestmark = pytest.mark.usefixtures("short_streams")

#: What no caller ever gets, whatever it is called elsewhere.
NEVER: Final = frozenset(
    {"password", "password_hash", "token_hash", "key_hash", "secret_hash", "refresh_token_hash"}
)
#: What is for staff alone: of items, of other people, of machines.
OF_STAFF: Final = frozenset(
    {"stock", "reorder_level", "movements", "scopes", "is_admin_of", "secret", "url", "user_agent", "actor"}
)
#: What stands in answers, and only the service decides on.
OWNED: Final = sorted(
    {name for schema in SCHEMAS.values() for name in schema.get("properties", {})}
    | {"password_hash", "role", "roles", "owner_id", "__proto__", "erased_at", "access_changed_at"}
)
#: So many faults are named.
NAMED: Final = 50


def shows_json(route: Route) -> bool:
    answers = [resolved(DOCUMENT["components"], each) for each in operation(route)["responses"].values()]
    return any("application/json" in each.get("content", {}) for each in answers)


READABLE: Final = tuple(
    route for route in ROUTES if route in API and min(route.expects) < 300 and shows_json(route)
)


def allowed(route: Route) -> list[str]:
    """The caller with the fewest rights that is answered, and an administrator."""
    answered = [caller for caller in CALLERS if expected(route, caller) < 300]
    return sorted({answered[0], answered[-1]}) if answered else []


def unlisted(schema: dict[str, Any], value: Any, path: str = "") -> Iterator[str]:
    """Members of an answer that its schema does not name; what is free in it may have any."""
    kinds = list(alternatives(schema))
    if isinstance(value, list):
        items = [each["items"] for each in kinds if "items" in each]
        for one in value:
            yield from unlisted({"anyOf": items}, one, f"{path}/0")
    elif isinstance(value, dict):
        known = properties(schema)
        free = not known or any(each.get("additionalProperties") for each in kinds)
        for name, inner in value.items():
            if name in known:
                yield from unlisted({"anyOf": known[name]}, inner, f"{path}/{name}")
            elif not free:
                yield f"{path}/{name}"


def names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from names(inner)


@pytest.mark.parametrize("route", READABLE, ids=str)
async def test_an_answer_has_what_its_schema_names_and_nothing_of_others(make: Make, route: Route) -> None:
    for caller in allowed(route):
        owner, other, ada = await make.user(address=HOME), await make.user(), await make.admin()
        clients = {"anonymous": make.api, "owner": owner.api, "other": other.api, "administrator": ada.api}
        answer = await clients[caller].request(**await route.request(make, owner))
        if not answer.headers.get("content-type", "").startswith("application/json"):
            continue
        documented = operation(route)["responses"][str(answer.status_code)]
        content = resolved(DOCUMENT["components"], documented)["content"]
        schema = content["application/json"]["schema"]
        found = answer.json()
        assert (caller, list(unlisted(schema, found))) == (caller, [])
        assert NEVER.isdisjoint(names(found))
        if caller != "administrator":
            assert OF_STAFF.isdisjoint(names(found)), (caller, OF_STAFF.intersection(names(found)))
            assert ada.email not in answer.text
        if caller in ("anonymous", "other") and route.form is None:
            assert owner.email not in answer.text


@pytest.mark.parametrize("route", WITH_JSON, ids=str)
async def test_a_field_that_the_service_owns_is_refused_in_every_body(
    make: Make, route: Route, sql: asyncpg.Connection, tables: list[str]
) -> None:
    """The request is good but for one field more, of each name that any answer has."""
    owner = await make.user()
    request = await route.request(make, owner)
    sender = owner if expected(route, "administrator") >= 400 else await make.admin()
    known = set(properties(body_schema(route)))
    body = request["json"]
    if isinstance(body, list):
        known, body = set(properties(body_schema(route)["items"])), body[0]
    foreign = [name for name in OWNED if name not in known]
    before = await stored(sql, tables)
    for begin in range(0, len(foreign), NAMED):
        some = foreign[begin : begin + NAMED]
        sent: Any = {**body, **dict.fromkeys(some, 1)}
        place = ""
        if isinstance(request["json"], list):
            sent, place = [sent], "/0"
        answer = await sender.api.request(**{**request, "json": sent})
        assert answer.status_code == 422
        assert {(each["pointer"], each["code"]) for each in answer.json()["errors"]} == {
            (f"{place}/{name}", "unknown_field") for name in some
        }
    assert await stored(sql, tables) == before


def test_no_request_may_name_what_only_the_service_decides() -> None:
    """Of a customer's requests; what staff may set (`is_active`, `price`) is 403 for a customer elsewhere."""
    never = NEVER - {"password"} | {
        "id",
        "version",
        "created_at",
        "updated_at",
        "status",
        "total",
        "subtotal",
        "is_admin",
    }
    by_staff = {("PATCH", "/api/v1/admin/users/{user_id}", "is_admin")}
    found = {
        (method, path, name)
        for method, path, found in operations()
        for content in found.get("requestBody", {}).get("content", {}).values()
        for name in properties(content["schema"])
        if name in never
    }
    assert found == by_staff


def test_what_is_not_named_would_be_found() -> None:
    schema = DOCUMENT["paths"]["/api/v1/items"]["get"]["responses"]["200"]["content"]["application/json"][
        "schema"
    ]
    assert list(unlisted(schema, [{"id": 1, "cost": "1.00"}])) == ["/0/cost"]
