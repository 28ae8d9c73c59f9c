"""ASVS 5.0, V15: defensive coding."""

import ast
from typing import Any, Final

import asyncpg
import pytest

from tests.abuse.source import calls
from tests.contract.test_bad_input import DOCUMENT
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make

#: What objects have inside, and what frameworks elsewhere set from a body.
INSIDE: Final[dict[str, Any]] = {
    "id": 1, "user_id": 1, "is_admin": True, "admin": True, "role": "admin", "roles": ["admin"],
    "is_active": True, "email_verified": True, "password_hash": "x", "version": 99, "created_at": None,
    "erased_at": None, "total": "0.01", "status": "paid", "paid_at": None, "currency": "XXX", "author_id": 1,
    "published": True, "scopes": ["orders:write"], "key": "x", "secret": "x", "__class__": "x",
    "__proto__": {"is_admin": True}, "constructor": {"prototype": {"is_admin": True}},
}  # fmt: skip
#: A request that is good but for one field more: method, path, body.
BODIES: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("PATCH", "/users/profile", {"full_name": "Maria"}),
    ("POST", "/users/profile/password", {"current_password": PASSWORD, "new_password": "battery-staple-2"}),
    ("POST", "/posts", {"title": "News", "body": "Tea."}),
    ("POST", "/orders", {"product_id": 1, "quantity": 1}),
    ("POST", "/auth/password-reset", {"email": "maria@shop.example"}),
)


def test_v15_3_2_the_weather_is_not_asked_elsewhere() -> None:
    """No client of the service follows a redirect: httpx does so only where it is asked to."""
    followed = [
        place
        for place, _, call in calls()
        for keyword in call.keywords
        if keyword.arg == "follow_redirects" and ast.unparse(keyword.value) != "False"
    ]
    assert followed == []


@pytest.mark.parametrize(("method", "path", "body"), BODIES, ids=lambda value: str(value)[:30])
async def test_v15_3_3_no_field_can_be_set_that_is_not_meant(
    make: Make, sql: asyncpg.Connection, method: str, path: str, body: dict[str, Any]
) -> None:
    maria = await make.user()
    before = await sql.fetchrow("SELECT * FROM users WHERE id = $1", maria.id)
    for name, value in INSIDE.items():
        if name in _known(method, path):
            continue
        answer = await maria.api.request(method, path, json=body | {name: value})
        assert_problem(answer, 422, "invalid_input", f"/{name}")
    assert await sql.fetchrow("SELECT * FROM users WHERE id = $1", maria.id) == before
    assert await sql.fetchval("SELECT count(*) FROM posts") == 0


def _known(method: str, path: str) -> set[str]:
    operation = DOCUMENT["paths"][f"/api/v1{path}"][method.lower()]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    parts = schema.get("anyOf") or schema.get("oneOf") or [schema]
    known = set()
    for part in parts:
        found = DOCUMENT["components"]["schemas"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        known |= set(found.get("properties", {}))
    return known


async def test_v15_3_3_registering_makes_no_administrator(api: Api, sql: asyncpg.Connection) -> None:
    fields = {"email": "eve@shop.example", "password": PASSWORD, "full_name": "Eve"}
    for more in (
        {"is_admin": True},
        {"is_admin": "true"},
        {"is_admin": 1},
        {"email_verified": True},
        {"id": 1},
    ):
        answer = await api.post("/users", json=fields | more)
        assert_problem(answer, 422, "invalid_input", f"/{next(iter(more))}")
    assert await sql.fetchval("SELECT count(*) FROM users") == 0


@pytest.mark.parametrize(
    "body",
    [
        {"product_id": "1", "quantity": 1},
        {"product_id": 1, "quantity": "1"},
        {"product_id": 1, "quantity": 1.5},
        {"product_id": 1, "quantity": True},
        {"product_id": True, "quantity": 1},
        {"product_id": [1], "quantity": 1},
        {"product_id": {"$gt": 0}, "quantity": 1},
        {"product_id": 1, "quantity": 1, "unit_price": {"amount": "0.01"}},
        {"product_id": None, "quantity": 1},
        {"product_id": 1, "quantity": 1e400},
    ],
    ids=str,
)
async def test_v15_3_5_no_type_is_taken_for_another(
    make: Make, sql: asyncpg.Connection, body: dict[str, Any]
) -> None:
    maria = await make.user()
    await make.item(stock=10)
    content = (
        str(body).replace("'", '"').replace("True", "true").replace("None", "null").replace("inf", "1e400")
    )
    headers = {"Content-Type": "application/json"}
    answer = await maria.api.post("/orders", content=content, headers=headers)
    assert answer.status_code == 422, answer.text
    assert await sql.fetchval("SELECT count(*) FROM orders") == 0


@pytest.mark.parametrize(
    "query",
    ["limit=1&limit=2", "limit[]=1", "limit=1;limit=2", "limit=1&LIMIT=2", "limit=1%26skip=3", "limit.x=1",
     "sort=name&sort=-name", "limit=1,2", "limit[0]=1", "%6cimit=1&limit=2"],
)  # fmt: skip
async def test_v15_3_7_a_parameter_is_given_once(api: Api, query: str) -> None:
    """Neither the first nor the last wins, nor a list of both; a name in other letters is another name."""
    assert (await api.get(f"/items?{query}")).status_code == 422


async def test_v15_3_7_a_body_does_not_stand_in_for_a_query(make: Make) -> None:
    """A parameter counts where it is documented, and nowhere else."""
    ada = await make.admin()
    item = await make.item()
    answer = await ada.api.post(f"/items/{item.id}/stock?delta=5&reason=x", json={"delta": 1, "reason": "y"})
    assert answer.status_code == 422
    answer = await ada.api.post(f"/items/{item.id}/stock", data={"delta": "5", "reason": "x"})
    assert_problem(answer, 415, "unsupported_media_type")
