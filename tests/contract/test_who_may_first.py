"""Who may not is told that, and nothing about what they have sent; and nobody reads their bodies."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg
import pytest

from tests.contract.routes import CALLERS, ROUTES, Route
from tests.contract.test_callers import prepared
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make

pytestmark = pytest.mark.usefixtures("short_streams")

JSON: Final = {"Content-Type": "application/json"}
#: What may be wrong with a request, by name.
FAULTS: Final[dict[str, dict[str, Any]]] = {
    "malformed": {"content": b"{", "headers": JSON},
    "another type": {"content": b"{}", "headers": {"Content-Type": "text/plain"}},
    "compressed": {"content": b"\x1f\x8b", "headers": {**JSON, "Content-Encoding": "gzip"}},
    "fields of other types": {"content": b'{"name": [], "surprise": 1}', "headers": JSON},
    "a list": {"content": b"[1]", "headers": JSON},
    "a name twice": {"content": b'{"a": 1, "a": 2}', "headers": JSON},
    "too large": {"content": b" " * 1_100_000, "headers": JSON},
    "announced too large": {"content": b"{}", "headers": {**JSON, "Content-Length": "9" * 12}},
    "an unknown parameter": {"params": {"surprise": "1"}},
    "a parameter twice": {"params": [("limit", "1"), ("limit", "1")]},
    "no acceptable answer": {"headers": {"Accept": "text/html"}},
}
#: Rows of the table whose 403 depends on what is in the body.
BODY_DECIDES: Final = ("for the owner", "inactive")
WHO_MAY_NOT: Final = {401: "unauthenticated", 403: "forbidden"}


def refused(route: Route, caller: str) -> bool:
    return route.expects[CALLERS.index(caller)] in WHO_MAY_NOT and route.note not in BODY_DECIDES


PROTECTED: Final = tuple(route for route in ROUTES if refused(route, "anonymous"))
FOR_STAFF: Final = tuple(route for route in PROTECTED if refused(route, "owner"))


def faulty(request: dict[str, Any], fault: dict[str, Any]) -> dict[str, Any]:
    """The request with this wrong in it; of its body and parameters nothing else is left."""
    kept = {name: value for name, value in request.items() if name not in ("json", "data")}
    return {**kept, "url": request["url"].partition("?")[0], **fault}


async def answers(client: Api, request: dict[str, Any]) -> dict[str, tuple[int, str]]:
    seen = {}
    for name, fault in FAULTS.items():
        answer = await client.request(**faulty(request, fault))
        seen[name] = (answer.status_code, answer.json()["code"])
    return seen


@pytest.mark.parametrize("route", PROTECTED, ids=str)
async def test_without_a_token_the_answer_is_401_whatever_else_is_wrong(make: Make, route: Route) -> None:
    client, request = await prepared(make, route, "anonymous")
    assert await answers(client, request) == dict.fromkeys(FAULTS, (401, "unauthenticated"))
    bad = client.signed_in("x.y.z")
    assert await answers(bad, request) == dict.fromkeys(FAULTS, (401, "invalid_token"))


@pytest.mark.parametrize("route", FOR_STAFF, ids=str)
async def test_a_customer_at_the_staffs_routes_gets_403(make: Make, route: Route) -> None:
    client, request = await prepared(make, route, "owner")
    assert await answers(client, request) == dict.fromkeys(FAULTS, (403, "forbidden"))


@pytest.mark.parametrize("route", PROTECTED, ids=str)
async def test_a_key_without_the_scope_gets_403(make: Make, route: Route) -> None:
    _, request = await prepared(make, route, "anonymous")
    client = (await make.key("events:read")).api
    assert await answers(client, request) == dict.fromkeys(FAULTS, (403, "insufficient_scope"))


@pytest.mark.parametrize("route", [each for each in FOR_STAFF if each.json is not None], ids=str)
async def test_the_body_of_who_may_not_is_not_read(make: Make, route: Route) -> None:
    read = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * 1_000

    for caller in ("anonymous", "other"):
        client, request = await prepared(make, route, caller)
        fault = {"content": pieces(), "headers": JSON}
        status = 401 if caller == "anonymous" else 403
        assert (await client.request(**faulty(request, fault))).status_code == status
    assert read == 0


@pytest.mark.parametrize("route", [each for each in ROUTES if each.expects[0] == 401], ids=str)
async def test_of_another_users_object_nothing_is_revealed(make: Make, route: Route) -> None:
    """As of one that does not exist: faults would tell that it does. A public post is 403."""
    status = route.expects[CALLERS.index("other")]
    if status not in (403, 404) or refused(route, "owner") or route.note in BODY_DECIDES:
        return
    client, request = await prepared(make, route, "other")
    code = "not_found" if status == 404 else "forbidden"
    for name, fault in FAULTS.items():
        answer = await client.request(**faulty(request, fault))
        assert (name, answer.status_code, answer.json()["code"]) == (name, status, code)


class TestWhatTheBodyDecides:
    """A 403 that depends on what was sent, before faults of the same body."""

    @pytest.mark.parametrize(
        "body",
        [
            {"user_id": 7, "lines": "x"},
            {"user_id": 7},
            {"user_id": 7, "surprise": 1, "product_id": 1, "quantity": 1},
            {"lines": [{"product_id": "x", "discount_pct": "5.00"}]},
            {"product_id": 1, "quantity": 1, "discount_pct": 150},
            {"discount_pct": "5.00", "lines": []},
        ],
        ids=str,
    )
    async def test_an_order_that_only_staff_may_place(self, make: Make, body: Any) -> None:
        maria = await make.user()
        assert_problem(await maria.api.post("/orders", json=body), 403, "forbidden")
        no_key = {"Content-Type": "application/json", "Idempotency-Key": " "}
        answer = await maria.api.post("/orders", content=json.dumps(body), headers=no_key)
        assert_problem(answer, 403, "forbidden")
        ada = await make.admin()
        assert (await ada.api.post("/orders", json=body)).status_code == 422

    @pytest.mark.parametrize("discount", ["x", "0", 0, None, [], "0.00", True], ids=repr)
    async def test_no_discount_is_a_fault_at_most(self, make: Make, discount: Any) -> None:
        maria = await make.user()
        body = {"lines": [{"product_id": "x", "quantity": 1, "discount_pct": discount}]}
        answer = await maria.api.post("/orders", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")

    async def test_an_inactive_account(self, make: Make) -> None:
        body = {"email": 5, "is_active": False, "surprise": 1}
        for client in (make.api, (await make.user()).api, (await make.key("users:read")).api):
            assert_problem(await client.post("/users", json=body), 403, "forbidden")
        assert (await (await make.admin()).api.post("/users", json=body)).status_code == 422

    async def test_another_persons_orders(self, make: Make) -> None:
        maria, ana = await make.user(), await make.user()
        answer = await maria.api.get(f"/orders?user_id={ana.id}&limit=0&surprise=1")
        assert_problem(answer, 403, "forbidden")
        for query in (f"user_id={maria.id}", "user_id=x"):
            assert (await maria.api.get(f"/orders?{query}&limit=0")).status_code == 422


class TestASlowBody:
    """A caller whose access has ended when the body is complete is refused."""

    async def test_of_a_session_that_has_ended_meanwhile(self, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        other = await make.signed_in_again(maria)

        async def pieces() -> AsyncIterator[bytes]:
            body = json.dumps({"title": "News", "body": "x"}).encode()
            yield body[:10]
            assert (await other.api.delete(f"/auth/sessions/{maria.caller.session_id}")).status_code == 204
            await make.container.feed.sync()
            yield body[10:]

        answer = await maria.api.post("/posts", content=pieces(), headers=JSON)
        assert_problem(answer, 401, "invalid_token")
        assert await sql.fetchval("SELECT count(*) FROM posts") == 0

    async def test_of_an_administrator_who_is_none_any_more(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        ada, boss = await make.admin(), await make.admin()

        async def pieces() -> AsyncIterator[bytes]:
            body = json.dumps({"name": "Chai", "price": "18.00"}).encode()
            yield body[:10]
            demoted = await boss.api.patch(f"/admin/users/{ada.id}", json={"is_admin": False})
            assert demoted.status_code == 200
            await make.container.feed.sync()
            yield body[10:]

        answer = await ada.api.post("/items", content=pieces(), headers=JSON)
        assert_problem(answer, 403, "forbidden")
        assert await sql.fetchval("SELECT count(*) FROM items") == 0
