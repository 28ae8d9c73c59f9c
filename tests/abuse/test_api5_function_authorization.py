"""API5:2023 Broken Function Level Authorization: no other method, spelling or header opens a function."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.abuse.walking import STAFF, expected, operations, stored
from tests.contract.routes import ROUTES, Route
from tests.helpers.client import V1
from tests.helpers.factories import Make

pytestmark = pytest.mark.usefixtures("short_streams")

OVERRIDES: Final = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
REWRITES: Final = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Path", "X-Forwarded-Prefix")
#: What other shops have there.
GUESSED: Final = (
    "/admin", "/api", "/api/v1", "/api/v1/admin", "/api/v1/admin/export", "/api/v1/debug", "/api/v1/graphql",
    "/api/v1/internal", "/api/v1/metrics", "/api/v2/items", "/metrics", "/debug/pprof", "/.env",
    "/.git/config",
    "/server-status", "/actuator/env", "/console", "/api/v1/orders/1/update", "/api/v1/users/1/promote",
)  # fmt: skip


@pytest.mark.parametrize("route", STAFF, ids=str)
async def test_no_header_makes_a_customers_request_another(
    make: Make, route: Route, sql: asyncpg.Connection, tables: list[str]
) -> None:
    """A proxy's header that names another method or address, sent by a customer to a public route."""
    maria = await make.user()
    request = await route.request(make, maria)
    path = urlsplit(request["url"]).path
    body: dict[str, Any] = {"json": request["json"]} if "json" in request else {}
    before = await stored(sql, tables)
    for name in OVERRIDES:
        answer = await maria.api.request("GET", request["url"], headers={name: route.method})
        assert answer.status_code in (200, 403, 404, 405)
    public = await maria.api.get("/items")
    for name in REWRITES:
        answer = await maria.api.get("/items", headers={name: path})
        assert (name, answer.text) == (name, public.text)
        posted = await maria.api.post("/auth/revoke", headers={name: path}, **body)
        assert posted.status_code in (400, 415)
    assert await stored(sql, tables) == before


def spellings(path: str) -> Iterator[str]:
    """The same address as a proxy, a file system or a browser would write it."""
    rest = path.removeprefix(V1)
    yield from (f"/{path}", f"/api//v1{rest}", f"{V1}/{rest}", f"/api/V1{rest}", path.upper(), f"{path};a=1")
    yield from (
        f"/api/v1/items/..{rest}",
        f"{V1}/.{rest}",
        f"{path}%20",
        f"{path}%2f",
        f"{path}.json",
        f"{path}~",
    )
    first = f"%{ord(rest[1]):02x}"
    yield f"{V1}/{first}{rest[2:]}"
    yield f"{path}/%2e%2e{rest}"


@pytest.mark.parametrize("route", STAFF, ids=str)
async def test_no_spelling_of_an_address_opens_it(
    make: Make, route: Route, sql: asyncpg.Connection, tables: list[str]
) -> None:
    maria = await make.user()
    request = await route.request(make, maria)
    path = urlsplit(request["url"]).path
    before = await stored(sql, tables)
    for spelling in spellings(path):
        answer = await maria.api.request(**{**request, "url": f"http://shop.test{spelling}"})
        assert (spelling, answer.status_code) in [(spelling, status) for status in (403, 404, 405, 422)]
    assert await stored(sql, tables) == before


@pytest.mark.parametrize("path", GUESSED)
async def test_what_is_guessed_is_not_there(make: Make, path: str) -> None:
    for client in (make.api, (await make.user()).api, (await make.admin()).api):
        for method in ("GET", "POST"):
            answer = await client.root(path, method)
            assert (method, answer.status_code) == (method, 404)


def test_what_is_not_said_to_be_public_needs_credentials() -> None:
    """Deny by default: an operation is public because the document says so, and for no other reason."""
    public = {(route.method, route.template) for route in ROUTES if expected(route, "anonymous") != 401}
    for method, path, operation in operations():
        security = operation["security"]
        assert ((method, path) in public) == (security == [] or {} in security), path
