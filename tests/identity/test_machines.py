"""What an API key may do with orders, items and accounts. It acts for nobody."""

from typing import Any

import asyncpg
import pytest

from tests.helpers.client import assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.identity import audited, last_entry

HOME = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}


async def count(sql: asyncpg.Connection, table: str) -> int:
    rows: int = await sql.fetchval(f"SELECT count(*) FROM {table}")
    return rows


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


class TestPlacing:
    async def test_for_a_customer_at_agreed_prices(
        self, make: Make, maria: Person, sql: asyncpg.Connection
    ) -> None:
        till, chai = await make.key("orders:write"), await make.item(price="18.00", stock=10)
        line = {"product_id": chai.id, "quantity": 2, "unit_price": "15.00", "discount_pct": "10.00"}
        before = await last_entry(sql)
        answer = await till.api.post("/orders", json={**line, "user_id": maria.id})
        order = answer.json()
        assert answer.status_code == 201
        assert (order["user_id"], order["total"]) == (maria.id, "27.00")
        assert (await maria.api.get(f"/orders/{order['id']}")).json() == order
        [moved] = await sql.fetch("SELECT actor_id FROM stock_movements WHERE kind = 'sale'")
        assert moved["actor_id"] is None
        assert await sql.fetchval("SELECT user_id FROM notifications") == maria.id
        [entry] = await sql.fetch("SELECT * FROM audit_log WHERE id > $1", before)
        assert (entry["action"], entry["actor_id"], entry["key_id"]) == ("order.placed", None, till.id)

    async def test_it_must_name_the_customer(self, make: Make, sql: asyncpg.Connection) -> None:
        till, chai = await make.key("orders:write"), await make.item(stock=10)
        answer = await till.api.post("/orders", json={"product_id": chai.id, "quantity": 2})
        problem = assert_problem(answer, 422, "invalid_input", "/user_id")
        assert problem["errors"][0]["code"] == "missing"
        assert await count(sql, "orders") == 0

    async def test_an_unknown_customer_is_422(self, make: Make, sql: asyncpg.Connection) -> None:
        till, chai = await make.key("orders:write"), await make.item(stock=10)
        gone = await make.user(is_active=False)
        for user_id in (2**63 - 1, gone.id):
            answer = await till.api.post(
                "/orders", json={"product_id": chai.id, "quantity": 2, "user_id": user_id}
            )
            assert_problem(answer, 422, "invalid_input", "/user_id")
        assert await count(sql, "orders") == 0

    async def test_reading_is_not_writing(self, make: Make, maria: Person, sql: asyncpg.Connection) -> None:
        reader, chai = await make.key("orders:read", "users:read"), await make.item(stock=10)
        body = {"product_id": chai.id, "quantity": 2, "user_id": maria.id}
        answer = await reader.api.post("/orders", json=body)
        assert_problem(answer, 403, "insufficient_scope")
        assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="orders:write"'
        assert await count(sql, "orders") == 0


class TestOrders:
    async def order(self, make: Make, person: Person) -> Any:
        chai = await make.item(stock=10)
        return (await person.api.post("/orders", json={"product_id": chai.id, "quantity": 2})).json()

    async def test_a_reader_sees_everybodys(self, make: Make, maria: Person) -> None:
        first, second = await self.order(make, maria), await self.order(make, await make.user())
        reader = await make.key("orders:read")
        assert (await reader.api.get("/orders")).json() == [second, first]
        assert (await reader.api.get(f"/orders?user_id={maria.id}")).json() == [first]
        assert (await reader.api.get(f"/orders/{first['id']}")).json() == first
        assert_problem(await reader.api.get("/orders/9223372036854775807"), 404, "not_found")

    async def test_a_writer_cancels_and_redirects_but_does_not_read(
        self, make: Make, maria: Person, sql: asyncpg.Connection
    ) -> None:
        order, writer = await self.order(make, maria), await make.key("orders:write")
        path = f"/orders/{order['id']}"
        before = await last_entry(sql)
        moved = await writer.api.put(f"{path}/ship-to", json=HOME)
        cancelled = await writer.api.post(f"{path}/cancel", json={"reason": "Ordered twice"})
        assert (moved.status_code, moved.json()["ship_to"]["city"]) == (200, "Berlin")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
        assert (await maria.api.get(path)).json() == cancelled.json()
        assert_problem(await writer.api.get(path), 403, "insufficient_scope")
        assert_problem(await writer.api.get("/orders"), 403, "insufficient_scope")
        returned = await sql.fetchrow("SELECT actor_id, delta FROM stock_movements WHERE kind = 'return'")
        assert returned is not None
        assert tuple(returned) == (None, 2)
        assert [actor for _, actor, *_ in await audited(sql, before)] == [None, None]

    async def test_a_reader_changes_nothing(self, make: Make, maria: Person, sql: asyncpg.Connection) -> None:
        order, reader = await self.order(make, maria), await make.key("orders:read")
        for answer in (
            await reader.api.post(f"/orders/{order['id']}/cancel"),
            await reader.api.put(f"/orders/{order['id']}/ship-to", json=HOME),
        ):
            assert_problem(answer, 403, "insufficient_scope")
        assert (await maria.api.get(f"/orders/{order['id']}")).json() == order


class TestCatalogue:
    async def test_a_writer_keeps_the_catalogue(self, make: Make, sql: asyncpg.Connection) -> None:
        writer = await make.key("catalogue:write")
        before = await last_entry(sql)
        made = await writer.api.post("/items", json={"name": "Chai", "price": "18.00", "stock": 3})
        item = made.json()["id"]
        batch = await writer.api.post("/items/batch", json=[{"name": "Chang", "price": "19.00"}])
        changed = await writer.api.patch(f"/items/{item}", json={"price": "19.00"})
        moved = await writer.api.post(f"/items/{item}/stock", json={"delta": 4, "reason": "Delivery"})
        gone = await writer.api.delete(f"/items/{item}")
        statuses = [answer.status_code for answer in (made, batch, changed, moved, gone)]
        assert statuses == [201, 201, 200, 200, 204]
        stock = (await writer.api.get(f"/items/{item}/stock")).json()
        assert stock["quantity"] == 7
        assert [movement["actor_id"] for movement in stock["movements"]] == [None, None]
        rows = await sql.fetch("SELECT actor_id, key_id FROM audit_log WHERE id > $1", before)
        assert {tuple(row) for row in rows} == {(None, writer.id)}

    async def test_it_sees_what_is_withdrawn_and_others_do_not(self, make: Make) -> None:
        item = await make.item(is_active=False)
        writer, reader = await make.key("catalogue:write"), await make.key("orders:read")
        assert (await writer.api.get(f"/items/{item.id}")).json()["is_active"] is False
        assert [each["id"] for each in (await writer.api.get("/items?is_active=false")).json()] == [item.id]
        assert_problem(await reader.api.get(f"/items/{item.id}"), 404, "not_found")
        assert (await reader.api.get("/items?is_active=false")).json() == []

    async def test_without_the_scope_nothing_changes(self, make: Make, sql: asyncpg.Connection) -> None:
        item, other = await make.item(stock=3), await make.key("orders:read", "orders:write", "users:read")
        for method, path, body in (
            ("POST", "/items", {"name": "Chai", "price": "18.00"}),
            ("POST", "/items/batch", [{"name": "Chai", "price": "18.00"}]),
            ("PATCH", f"/items/{item.id}", {"price": "1.00"}),
            ("DELETE", f"/items/{item.id}", None),
            ("POST", f"/items/{item.id}/stock", {"delta": 4, "reason": "Delivery"}),
            ("GET", f"/items/{item.id}/stock", None),
        ):
            answer = await other.api.request(method, path, json=body)
            problem = assert_problem(answer, 403, "insufficient_scope")
            assert problem["detail"] == "This operation requires an API key with the scope catalogue:write."
        assert await count(sql, "items") == await count(sql, "stock_movements") == 1
        assert (await make.api.get(f"/items/{item.id}")).json() == item.model_dump(mode="json")


class TestAccounts:
    async def test_a_reader_sees_all(self, make: Make, maria: Person) -> None:
        reader = await make.key("users:read")
        listed = (await reader.api.get("/admin/users")).json()
        assert {each["id"] for each in listed} == {maria.id, reader.maker.id}
        assert (await reader.api.get(f"/users/{maria.id}")).json()["email"] == maria.email
        assert_problem(await reader.api.get("/users/9223372036854775807"), 404, "not_found")

    async def test_no_user_is_administered_by_a_key(
        self, make: Make, maria: Person, sql: asyncpg.Connection
    ) -> None:
        reader = await make.key("users:read")
        answer = await reader.api.patch(f"/admin/users/{maria.id}", json={"is_admin": True})
        problem = assert_problem(answer, 403, "insufficient_scope")
        assert problem["detail"] == "This operation accepts no API keys: sign in as a user."
        assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
        assert await sql.fetchval("SELECT is_admin FROM users WHERE id = $1", maria.id) is False

    async def test_a_key_has_no_account_of_its_own(self, make: Make) -> None:
        machine = await make.key("users:read", "orders:read", "orders:write", "catalogue:write")
        for method, path in (
            ("GET", "/users/profile"),
            ("GET", "/users/profile/export"),
            ("GET", "/notifications"),
            ("GET", f"/dashboard/{machine.maker.id}"),
            ("GET", "/auth/sessions"),
            ("DELETE", "/auth/sessions"),
        ):
            assert_problem(await machine.api.request(method, path), 403, "insufficient_scope")

    async def test_it_registers_users_as_any_client_does(self, make: Make) -> None:
        machine = await make.key("users:read")
        new = {"email": "new@shop.example", "password": "Northwind1", "full_name": "New"}
        assert (await machine.api.post("/users", json=new)).status_code == 201
        answer = await machine.api.post("/users", json={**new, "is_active": False})
        assert_problem(answer, 403, "forbidden")
