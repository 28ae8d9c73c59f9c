"""ASVS 5.0, V3: what a browser is told, and what pages of others can have it send."""

from typing import Any, Final

import asyncpg
import pytest

from service.platform.config import Settings
from tests.contract.routes import ROUTES, Route
from tests.contract.test_bad_input import DOCUMENT
from tests.helpers.application import running
from tests.helpers.client import V1, Api, assert_problem
from tests.helpers.factories import PASSWORD, Make

SHOP: Final = "https://shop.example"
#: What a form of any page sends, and a script without asking first (a preflight).
SIMPLE: Final = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "")
FOREIGN: Final = (
    "https://shop.example.evil.example", "https://evilshop.example", "https://shop.example:444",
    "http://shop.example", "https://shop.example/", "https://shop.example@evil.example",
    "https://SHOP.example", "https://shop.example https://evil.example", "https://shop%2eexample",
    "https://xn--shop-.example", "null", "*", "file://",
)  # fmt: skip
CHANGES: Final = [
    (method, path)
    for path, operations in DOCUMENT["paths"].items()
    for method in operations
    if method in {"post", "put", "patch", "delete"}
]
READS: Final = [
    route
    for route in ROUTES
    if route.method == "GET" and "weather" not in route.template and "stream" not in route.template
]


async def snapshot(sql: asyncpg.Connection, tables: list[str]) -> dict[str, str]:
    """What is in each table, as a checksum."""
    text = "SELECT md5(coalesce(string_agg(t::text, '' ORDER BY t::text), '')) FROM {} t"
    return {table: await sql.fetchval(text.format(table)) for table in tables}


async def test_v3_3_1_no_cookie_is_set(api: Api, make: Make) -> None:
    """Not where one signs in, nor by any answer that is documented; one that is sent opens nothing."""
    maria = await make.user()
    assert "set-cookie" not in (await api.token(maria.email, PASSWORD)).headers
    assert "set-cookie" not in (await maria.api.get("/users/profile")).headers
    for name in ("access_token", "session", "Authorization", "token", "__Host-session"):
        answer = await api.get("/users/profile", headers={"Cookie": f"{name}={maria.token}"})
        assert answer.status_code == 401
    assert "set-cookie" not in str(DOCUMENT).lower()


async def test_v3_4_2_an_origin_that_only_looks_like_ours_may_not(settings: Settings, sql: object) -> None:
    """Credentials without an origin that is allowed mean nothing to a browser."""
    async with running(settings, cors_origins=(SHOP,), cors_credentials=True) as browser:
        for origin in FOREIGN:
            answer = await browser.get("/posts", headers={"Origin": origin})
            assert (answer.status_code, answer.headers["vary"]) == (200, "Origin")
            assert "access-control-allow-origin" not in answer.headers, origin
            preflight = {"Origin": origin, "Access-Control-Request-Method": "DELETE"}
            refused = await browser.request("OPTIONS", "/users/profile", headers=preflight)
            assert_problem(refused, 400, "cors_refused")
            assert "access-control-allow-origin" not in refused.headers, origin


async def test_v3_4_3_the_policy_allows_no_object_and_no_base(api: Api) -> None:
    """default-src is what object-src falls back to; base-uri and frame-ancestors fall back to nothing."""
    for path in ("/", "/docs", "/redoc", f"{V1}/items", f"{V1}/users/profile", "/nothing"):
        policy = (await api.root(path)).headers["content-security-policy"]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert (rules["default-src"], rules["base-uri"], rules["frame-ancestors"]) == ("'none'",) * 3, path
        assert "object-src" not in rules
        assert "unsafe-eval" not in policy
        assert "unsafe-inline" not in rules.get("script-src", "")


@pytest.mark.parametrize(("method", "path"), CHANGES, ids=str)
async def test_v3_5_1_what_any_page_may_send_changes_nothing(
    api: Api, sql: asyncpg.Connection, method: str, path: str, make: Make
) -> None:
    """Without the header that only scripts of known origins may set, and with the types that forms have."""
    await make.user()
    for media in SIMPLE:
        headers = {"Content-Type": media, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        answer = await api.root(
            _with_ids(path), method.upper(), content="a=b", headers={n: v for n, v in headers.items() if v}
        )
        assert answer.status_code in {401, 415, 400, 422}, (media, answer.text)
    assert await sql.fetchval("SELECT count(*) FROM users") == 1
    assert await sql.fetchval("SELECT count(*) FROM audit_log") == 0


def _with_ids(path: str) -> str:
    parts = [("1" if part.startswith("{") else part) for part in path.split("/")]
    return "/".join(parts)


@pytest.mark.parametrize("route", READS, ids=str)
async def test_v3_5_3_safe_methods_change_nothing(
    make: Make, sql: asyncpg.Connection, tables: list[str], route: Route
) -> None:
    """Every row of every table is what it was."""
    owner, ada = await make.user(), await make.admin()
    request = await route.request(make, owner)
    before = await snapshot(sql, tables)
    for method in ("GET", "HEAD"):
        answer = await ada.api.request(**request | {"method": method})
        assert answer.status_code < 500
    assert await snapshot(sql, tables) == before


async def test_v3_7_2_no_answer_redirects(api: Api) -> None:
    """The only answer with 3xx is 304; paths with a slash too many are answered or not found, not led on."""
    documented = {
        int(status)
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
        if isinstance(operation, dict)
        for status in operation.get("responses", {})
    }
    assert {status for status in documented if 300 <= status < 400} == {304}
    for path in (
        "//evil.example/%2f..",
        "/\\evil.example",
        "/docs/",
        f"{V1}/items/",
        f"{V1}//items",
        "/%0d%0aevil",
    ):
        answer: Any = await api.root(
            path, headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
        )
        assert (answer.status_code in {200, 404}, "location" in answer.headers) == (True, False), path
