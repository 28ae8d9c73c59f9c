"""Scopes of persons: who gives them to whom, and what they are worth at once."""

from typing import Any

import asyncpg
import pytest

from service.identity import Scope
from service.identity.models import SCOPES
from tests.helpers.client import assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.identity import audited, last_entry, until_answered

PACKER: list[Scope] = ["orders:write", "catalogue:read"]


@pytest.fixture
async def ada(make: Make) -> Person:
    return await make.admin()


async def stored(sql: asyncpg.Connection, person: Person) -> tuple[bool, bool, list[str]]:
    row = await sql.fetchrow("SELECT is_active, is_admin, scopes FROM users WHERE id = $1", person.id)
    assert row is not None
    return row["is_active"], row["is_admin"], row["scopes"]


class TestGrant:
    async def test_an_administrator_gives_and_takes_scopes(
        self, make: Make, ada: Person, sql: asyncpg.Connection
    ) -> None:
        maria, before = await make.user(), await last_entry(sql)
        for scopes in (PACKER, []):
            answer = await ada.api.patch(f"/admin/users/{maria.id}", json={"scopes": scopes})
            assert (answer.status_code, answer.json()["scopes"]) == (200, scopes)
            assert await stored(sql, maria) == (True, False, scopes)
        noted = [(action, target, data) for action, _, _, target, data in await audited(sql, before)]
        assert noted == [
            ("user.changed", maria.id, {"before": {"scopes": []}, "after": {"scopes": PACKER}}),
            ("user.changed", maria.id, {"before": {"scopes": PACKER}, "after": {"scopes": []}}),
        ]

    async def test_what_is_given_and_taken_holds_for_tokens_that_are_out(
        self, make: Make, ada: Person
    ) -> None:
        maria = await make.user()
        assert_problem(await maria.api.get("/stock"), 403, "forbidden")
        await ada.api.patch(f"/admin/users/{maria.id}", json={"scopes": PACKER})
        assert (await until_answered(maria.api, "/stock", 200)).json() == []
        await ada.api.patch(f"/admin/users/{maria.id}", json={"scopes": ["orders:write"]})
        assert_problem(await until_answered(maria.api, "/stock", 403), 403, "forbidden")
        assert (await maria.api.get("/users/profile")).status_code == 200

    async def test_a_new_token_has_the_scopes_with_what_they_include(self, make: Make) -> None:
        maria = await make.staff(*PACKER)
        claimed = make.container.tokens.verify(maria.token)
        assert claimed is not None
        assert (claimed.is_admin, claimed.scopes) == (
            False,
            frozenset({"orders:write", "orders:read", "catalogue:read"}),
        )

    @pytest.mark.parametrize(
        ("scopes", "pointer"),
        [
            (None, "/scopes"),
            ("orders:read", "/scopes"),
            (["orders:read", "orders:read"], "/scopes"),
            (["everything"], "/scopes/0"),
            (["events:write"], "/scopes/0"),
        ],
    )
    async def test_bad_input_is_named(
        self, make: Make, ada: Person, sql: asyncpg.Connection, scopes: Any, pointer: str
    ) -> None:
        maria = await make.user()
        answer = await ada.api.patch(f"/admin/users/{maria.id}", json={"scopes": scopes})
        assert_problem(answer, 422, "invalid_input", pointer)
        assert await stored(sql, maria) == (True, False, [])

    async def test_scopes_make_no_administrator(self, make: Make, ada: Person) -> None:
        """The last one cannot go, whatever scopes others have."""
        await make.staff(*SCOPES)
        answer = await ada.api.patch(f"/admin/users/{ada.id}", json={"is_admin": False})
        assert_problem(answer, 409, "last_administrator")

    async def test_an_administrator_who_resigns_may_keep_scopes(
        self, make: Make, ada: Person, sql: asyncpg.Connection
    ) -> None:
        await make.admin()
        body = {"is_admin": False, "scopes": ["orders:read"]}
        assert (await ada.api.patch(f"/admin/users/{ada.id}", json=body)).status_code == 200
        assert await stored(sql, ada) == (True, False, ["orders:read"])
        await until_answered(ada.api, "/admin/users", 403)
        assert (await ada.api.get("/orders")).status_code == 200


class TestStaff:
    async def test_lists_administrators_and_who_has_scopes(self, make: Make, ada: Person) -> None:
        await make.user()
        packer, reader = await make.staff(*PACKER), await make.staff("staff:read")
        first = await reader.api.get("/admin/staff?limit=2")
        second = await reader.api.get(first.links["next"]["url"].removeprefix("/api/v1"))
        listed = [(each["id"], each["scopes"]) for each in (*first.json(), *second.json())]
        assert listed == [(ada.id, []), (packer.id, PACKER), (reader.id, ["staff:read"])]


class TestReading:
    async def test_who_reads_all_orders_changes_only_their_own(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, reader = await make.user(), await make.staff("orders:read")
        body = {"product_id": (await make.item(stock=5)).id, "quantity": 1}
        theirs = (await maria.api.post("/orders", json=body)).json()["id"]
        own = (await reader.api.post("/orders", json=body)).json()["id"]
        assert [each["id"] for each in (await reader.api.get("/orders")).json()] == [own, theirs]
        assert_problem(await reader.api.post(f"/orders/{theirs}/cancel"), 403, "forbidden")
        address = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}
        assert_problem(await reader.api.put(f"/orders/{theirs}/ship-to", json=address), 403, "forbidden")
        assert (await reader.api.post(f"/orders/{own}/cancel")).status_code == 200
        statuses = await sql.fetch("SELECT status FROM orders ORDER BY id")
        assert [row["status"] for row in statuses] == ["placed", "cancelled"]

    async def test_who_reads_users_needs_a_scope_for_their_orders(self, make: Make) -> None:
        maria = await make.user()
        body = {"product_id": (await make.item(stock=5)).id, "quantity": 1}
        order = (await maria.api.post("/orders", json=body)).json()["id"]
        for scopes, seen, dashboard in (
            (("users:read",), [], 404),
            (("users:read", "orders:read"), [order], 200),
        ):
            reader = await make.staff(*scopes)
            shown = (await reader.api.get(f"/users/{maria.id}")).json()
            assert [each["id"] for each in shown["orders"]] == seen
            assert (await reader.api.get(f"/dashboard/{maria.id}")).status_code == dashboard

    async def test_posts_are_read_by_one_scope_and_published_by_another(self, make: Make) -> None:
        post = await make.post(await make.user(), published=False)
        reader, editor = await make.staff("posts:read"), await make.staff("posts:write")
        machine = await make.key("posts:read")
        for each in (reader, editor, machine):
            assert (await each.api.get(f"/posts/{post}")).json()["status"] == "pending"
        assert_problem(await reader.api.post(f"/posts/{post}/publish"), 403, "forbidden")
        assert_problem(await reader.api.patch(f"/posts/{post}", json={"title": "x"}), 403, "forbidden")
        assert (await editor.api.post(f"/posts/{post}/publish")).json()["status"] == "published"

    async def test_catalogue_read_shows_stock_and_what_is_withdrawn(self, make: Make) -> None:
        item = await make.item(stock=5, is_active=False)
        for each in (await make.staff("catalogue:read"), await make.key("catalogue:read")):
            assert (await each.api.get(f"/items/{item.id}/stock")).json()["quantity"] == 5
            assert (await each.api.get(f"/items/{item.id}")).json()["is_active"] is False
            assert [found["id"] for found in (await each.api.get("/items?is_active=false")).json()] == [
                item.id
            ]
            answer = await each.api.patch(f"/items/{item.id}", json={"price": "1.00"})
            assert answer.status_code == 403


class TestKeys:
    async def test_a_key_may_no_more_than_its_maker(self, make: Make, ada: Person) -> None:
        maria = await make.staff("orders:read", "catalogue:read", "keys:write")
        machine = await make.key("orders:read", "catalogue:read", maker=maria)
        assert (await machine.api.get("/orders")).status_code == 200
        await ada.api.patch(f"/admin/users/{maria.id}", json={"scopes": ["catalogue:read", "keys:write"]})
        await until_answered(machine.api, "/orders", 403)
        assert (await machine.api.get("/stock")).status_code == 200
        again = {"scopes": ["orders:read", "keys:write"]}
        await ada.api.patch(f"/admin/users/{maria.id}", json=again)
        await until_answered(machine.api, "/orders", 200)
        assert_problem(await machine.api.get("/stock"), 403, "insufficient_scope")

    async def test_who_is_deactivated_loses_the_keys_for_good(self, make: Make, ada: Person) -> None:
        maria = await make.staff("orders:read", "keys:write")
        machine = await make.key("orders:read", maker=maria)
        for is_active in (False, True):
            await ada.api.patch(f"/admin/users/{maria.id}", json={"is_active": is_active})
        await until_answered(machine.api, "/orders", 401)
