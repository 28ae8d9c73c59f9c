"""API5:2023 and API3:2023: nobody gives themselves, another or a machine more than they have."""

from typing import Any, Final

import asyncpg
import pytest

from service.identity import Scope
from tests.abuse.walking import stored
from tests.contract.objects import ERP
from tests.helpers.client import assert_problem
from tests.helpers.factories import Make, Person

KEEPER: Final[tuple[Scope, ...]] = (
    "staff:write",
    "users:write",
    "keys:write",
    "webhooks:write",
    "orders:read",
)


async def refused(sql: asyncpg.Connection, tables: list[str], caller: Person, asked: str, body: Any) -> None:
    method, path = asked.split()
    before = await stored(sql, tables)
    assert_problem(await caller.api.request(method, path, json=body), 403, "forbidden")
    assert await stored(sql, tables) == before


@pytest.mark.parametrize(
    "body",
    [
        {"is_admin": True},
        {"scopes": ["orders:write"]},
        {"scopes": [*KEEPER, "audit:read"]},
        {"scopes": ["orders:read"], "is_admin": True},
    ],
    ids=str,
)
async def test_who_administers_staff_gives_no_more_than_they_have(
    make: Make, sql: asyncpg.Connection, tables: list[str], body: Any
) -> None:
    keeper, maria = await make.staff(*KEEPER), await make.user()
    for person in (keeper, maria):
        await refused(sql, tables, keeper, f"PATCH /admin/users/{person.id}", body)
    answer = await keeper.api.patch(f"/admin/users/{maria.id}", json={"scopes": ["orders:read"]})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [{"is_active": False}, {"external_id": "C-1"}, {"scopes": []}, {"is_admin": False}, {}],
    ids=str,
)
async def test_nobody_changes_who_may_more(
    make: Make, sql: asyncpg.Connection, tables: list[str], body: Any
) -> None:
    keeper = await make.staff(*KEEPER)
    await make.admin()
    for above in (await make.admin(), await make.staff("catalogue:write")):
        await refused(sql, tables, keeper, f"PATCH /admin/users/{above.id}", body)


@pytest.mark.parametrize(
    ("scope", "body"),
    [
        ("users:write", {"scopes": []}),
        ("users:write", {"is_admin": False}),
        ("staff:write", {"is_active": False}),
    ],
    ids=str,
)
async def test_a_field_needs_its_scope(
    make: Make, sql: asyncpg.Connection, tables: list[str], scope: Scope, body: Any
) -> None:
    caller, maria = await make.staff(scope), await make.user()
    for sent in (body, {**body, "surprise": 1}):
        await refused(sql, tables, caller, f"PATCH /admin/users/{maria.id}", sent)


async def test_a_key_is_no_way_to_more(make: Make, sql: asyncpg.Connection, tables: list[str]) -> None:
    keeper, theirs = await make.staff(*KEEPER), await make.key("catalogue:write")
    new = {"name": "Till", "scopes": ["orders:read", "orders:write"]}
    await refused(sql, tables, keeper, "POST /api-keys", new)
    for change in ({"expires_at": None}, {"name": "Mine"}, {"scopes": ["orders:read"]}):
        await refused(sql, tables, keeper, f"PATCH /api-keys/{theirs.id}", change)
    own = await make.key("orders:read", maker=keeper)
    await refused(sql, tables, keeper, f"PATCH /api-keys/{own.id}", {"scopes": ["posts:read"]})
    # To end one is no way to more.
    assert (await keeper.api.delete(f"/api-keys/{theirs.id}")).status_code == 204


async def test_a_webhook_is_no_way_to_read_more(
    make: Make, sql: asyncpg.Connection, tables: list[str]
) -> None:
    keeper, ada = await make.staff(*KEEPER), await make.admin()
    for events in (["*"], ["item.updated"], ["order.placed", "post.published"]):
        await refused(sql, tables, keeper, "POST /webhooks", {**ERP, "events": events})
    theirs = (await ada.api.post("/webhooks", json={**ERP, "events": ["*"]})).json()["id"]
    for change in ({"url": "https://93.184.216.35/"}, {"events": ["order.placed"]}):
        await refused(sql, tables, keeper, f"PATCH /webhooks/{theirs}", change)
    await refused(sql, tables, keeper, f"POST /webhooks/{theirs}/rotate-secret", None)
    own = (await keeper.api.post("/webhooks", json=ERP)).json()["id"]
    await refused(sql, tables, keeper, f"PATCH /webhooks/{own}", {"events": ["*"]})
