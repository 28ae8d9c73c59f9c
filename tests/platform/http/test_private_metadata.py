"""Metadata is for staff and keys: it is in nothing that customers, the public, events or the log get."""

from typing import Any

import asyncpg
import pytest

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.orders import HOME

SECRET = {"note": "SECRET"}
NEW = {"sku": "B", "name": "B", "price": "1"}


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user(address=HOME)


@pytest.fixture
async def everything(make: Make, maria: Person) -> tuple[Person, int, int]:
    """An administrator, an item and Maria's order: all of them, and Maria, with metadata."""
    admin = await make.admin()
    item = await make.item(stock=9)
    await admin.api.patch(f"/items/{item.id}", json={"metadata": SECRET}, headers={"If-Match": "*"})
    await admin.api.patch(f"/admin/users/{maria.id}", json={"metadata": SECRET})
    body = {"product_id": item.id, "quantity": 1, "user_id": maria.id, "metadata": SECRET}
    order = (await admin.api.post("/orders", json=body)).json()
    assert order["metadata"] == SECRET
    return admin, item.id, order["id"]


class TestReads:
    async def test_customers_and_the_public_get_none(
        self, everything: tuple[Person, int, int], maria: Person, api: Api
    ) -> None:
        admin, item_id, order_id = everything
        for path in (f"/items/{item_id}", "/items", "/items?search=chai", "/items?sort=name"):
            # From the database, and from the response cache; staff before and after.
            for client in (api, admin.api, maria.api, api, maria.api):
                answer = await client.get(path)
                assert answer.status_code == 200
                assert ("SECRET" in answer.text) is (client is admin.api), path
                assert ("metadata" in answer.text) is (client is admin.api), path
        own = ("/orders", f"/orders/{order_id}", "/users/profile", f"/users/{maria.id}")
        for path in (*own, f"/dashboard/{maria.id}", "/notifications"):
            answer = await maria.api.get(path)
            assert (answer.status_code, "metadata" in answer.text) == (200, False), path
        for path in (f"/users/{maria.id}", f"/orders/{order_id}", f"/dashboard/{maria.id}"):
            assert "SECRET" in (await admin.api.get(path)).text

    async def test_what_a_customer_changes_answers_without(
        self, everything: tuple[Person, int, int], maria: Person
    ) -> None:
        order_id = everything[2]
        for method, path, body in (
            ("PATCH", "/users/profile", {"full_name": "Maria A."}),
            ("PUT", f"/orders/{order_id}/ship-to", HOME),
            ("POST", f"/orders/{order_id}/cancel", {"reason": "Ordered twice"}),
        ):
            answer = await maria.api.request(method, path, json=body)
            assert (answer.status_code, "metadata" in answer.text) == (200, False), path

    async def test_keys_get_what_they_may_read(self, everything: tuple[Person, int, int], make: Make) -> None:
        _, item_id, order_id = everything
        for key, path in (
            (await make.key("catalogue:write"), f"/items/{item_id}"),
            (await make.key("orders:read"), f"/orders/{order_id}"),
        ):
            assert (await key.api.get(path)).json()["metadata"] == SECRET
        for path in ("/items?metadata[note]=SECRET", f"/items/{item_id}"):
            answer = await (await make.key("events:read")).api.get(path)
            assert "SECRET" not in answer.text
        key = await make.key("users:read")
        [user] = (await key.api.get("/admin/users?metadata[note]=SECRET")).json()
        assert user["metadata"] == SECRET


class TestWhoMayLook:
    async def test_staff_alone(self, everything: tuple[Person, int, int], maria: Person, api: Api) -> None:
        for query in ("metadata[note]=SECRET", "metadata[note]=SECRET&limit=x", "metadata[a b]=x"):
            assert_problem(await api.get(f"/items?{query}"), 401, "unauthenticated")
            assert_problem(await maria.api.get(f"/items?{query}"), 403, "forbidden")
            assert_problem(await maria.api.get(f"/orders?{query}"), 403, "forbidden")


class TestWhoMaySend:
    async def test_no_customer(self, make: Make, api: Api, maria: Person, sql: asyncpg.Connection) -> None:
        item = await make.item(stock=9)
        order = {"product_id": item.id, "quantity": 1}
        account = {"email": "ana@shop.example", "password": "correct-horse-1", "full_name": "Ana"}
        for client, path, body in (
            (maria.api, "/orders", order),
            (maria.api, "/orders", {**order, "quantity": "x"}),
            (api, "/users", account),
            (maria.api, "/users", {**account, "email": "x"}),
        ):
            answer = await client.post(path, json={**body, "metadata": SECRET})
            assert_problem(answer, 403, "forbidden")
        answer = await maria.api.patch("/users/profile", json={"metadata": SECRET})
        assert_problem(answer, 422, "invalid_input", "/metadata")
        counts = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM users)"
        assert tuple(await sql.fetchrow(counts) or ()) == (0, 1)


class TestEvents:
    async def test_have_none(self, everything: tuple[Person, int, int], sql: asyncpg.Connection) -> None:
        admin, _, order_id = everything
        await admin.api.patch(f"/orders/{order_id}", json={"metadata": {"more": "SECRET"}})
        await admin.api.post("/items", json={"name": "Chang", "price": "19.00", "metadata": SECRET})
        await admin.api.put("/items/batch", json=[{**NEW, "metadata": SECRET}])
        await admin.api.post(f"/orders/{order_id}/pay", json={"reference": "pi_1"})
        rows = await sql.fetch("SELECT type, data FROM events ORDER BY id")
        types = {row["type"] for row in rows}
        assert types >= {
            "item.created", "item.updated", "user.updated", "order.placed", "order.updated", "order.paid"
        }  # fmt: skip
        for row in rows:
            assert "SECRET" not in row["data"], row["type"]
            assert "metadata" not in row["data"], row["type"]

    async def test_the_audit_log_names_the_field_alone(
        self, everything: tuple[Person, int, int], sql: asyncpg.Connection
    ) -> None:
        admin, _, order_id = everything
        await admin.api.patch(f"/orders/{order_id}", json={"metadata": {"more": "SECRET"}})
        rows = await sql.fetch("SELECT action, data FROM audit_log WHERE data::text LIKE '%metadata%'")
        assert sorted(row["action"] for row in rows) == ["item.changed", "order.changed", "user.changed"]
        assert await sql.fetchval("SELECT count(*) FROM audit_log WHERE data::text LIKE '%SECRET%'") == 0


class TestOwnData:
    async def test_the_export_has_it(self, everything: tuple[Person, int, int], maria: Person) -> None:
        document = (await maria.api.get("/users/profile/export")).json()
        assert document["profile"]["metadata"] == SECRET
        assert [order["metadata"] for order in document["orders"]] == [SECRET]

    async def test_erasure_empties_it(
        self, everything: tuple[Person, int, int], maria: Person, sql: asyncpg.Connection
    ) -> None:
        body = {"current_password": "correct-horse-1"}
        assert (await maria.api.request("DELETE", "/users/profile", json=body)).status_code == 204
        assert await sql.fetchval("SELECT metadata FROM users WHERE id = $1", maria.id) == "{}"
        orders = await sql.fetch("SELECT metadata, version FROM orders")
        assert [tuple(row) for row in orders] == [("{}", 2)]
        # An item is of no person.
        assert [row["metadata"] for row in await sql.fetch("SELECT metadata FROM items")] == [
            '{"note":"SECRET"}'
        ]

    async def test_exports_of_staff_have_it(self, everything: tuple[Person, int, int]) -> None:
        admin = everything[0]
        for name in ("orders", "items", "customers"):
            answer = await admin.api.get(f"/exports/{name}.jsonl")
            assert '"metadata":{"note":"SECRET"}' in answer.text


class TestBatch:
    async def test_merges_row_by_row(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        await make.item(sku="A")
        for rows, results, expected in (
            (
                [{"sku": "A", "metadata": {"a": "1"}}, {**NEW, "metadata": {"b": "1"}}],
                ["changed", "created"],
                ['{"a":"1"}', '{"b":"1"}'],
            ),
            (
                [{"sku": "A", "metadata": {"a": "1"}}, {"sku": "B", "metadata": {"b": None, "c": "2"}}],
                ["unchanged", "changed"],
                ['{"a":"1"}', '{"c":"2"}'],
            ),
            ([{"sku": "A", "metadata": None}, {"sku": "B"}], ["changed", "unchanged"], ["{}", '{"c":"2"}']),
        ):  # fmt: skip
            answer = await admin.api.put("/items/batch", json=rows)
            assert [row["result"] for row in answer.json()] == results, answer.text
            found = await sql.fetch("SELECT metadata FROM items ORDER BY sku")
            assert [row["metadata"] for row in found] == expected

    async def test_a_refusal_names_row_field_and_key(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        item = await make.item(sku="A")
        full: dict[str, Any] = {f"k{n}": "x" for n in range(50)}
        await admin.api.patch(f"/items/{item.id}", json={"metadata": full}, headers={"If-Match": "*"})
        rows = [{**NEW, "metadata": {"k": 7}}]
        answer = await admin.api.put("/items/batch", json=rows)
        assert_problem(answer, 422, "invalid_input", "/0/metadata/k")
        answer = await admin.api.put("/items/batch", json=[NEW, {"sku": "A", "metadata": {"one": "more"}}])
        assert_problem(answer, 422, "invalid_input", "/1/metadata")
        assert await sql.fetchval("SELECT count(*) FROM items") == 1
