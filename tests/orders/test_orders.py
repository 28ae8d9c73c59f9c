import json
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from service.orders.models import STATUSES
from service.platform.http.schemas import MAX_ID
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.orders import HOME, brought_to, placed

BERLIN = {**HOME, "name": None, "region": None}


class TestGetOrder:
    async def test_is_for_the_owner_and_administrators(self, make: Make) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=1)
        order = await placed(maria, chai.id)
        for person in (maria, admin):
            answer = await person.api.get(f"/orders/{order['id']}")
            assert (answer.status_code, answer.json()) == (200, order)

    async def test_another_persons_is_as_if_it_did_not_exist(self, make: Make, api: Api) -> None:
        maria, other, chai = await make.user(), await make.user(), await make.item(stock=1)
        order = await placed(maria, chai.id)
        problem = assert_problem(await other.api.get(f"/orders/{order['id']}"), 404, "not_found")
        missing = assert_problem(await other.api.get(f"/orders/{MAX_ID}"), 404, "not_found")
        assert problem["detail"] == missing["detail"]
        assert_problem(await api.get(f"/orders/{order['id']}"), 401, "unauthenticated")

    @pytest.mark.parametrize("order_id", ["0", "x", str(MAX_ID + 1)])
    async def test_bad_ids(self, make: Make, order_id: str) -> None:
        answer = await (await make.user()).api.get(f"/orders/{order_id}")
        assert_problem(answer, 422, "invalid_input", "{order_id}")


class TestListOrders:
    @pytest.fixture
    async def history(self, make: Make, sql: asyncpg.Connection) -> tuple[Person, Person, list[int]]:
        """Maria's orders of five days, two of them of one moment, and one of another customer."""
        maria, other, chai = await make.user(), await make.user(), await make.item(stock=100)
        days = (3, 1, 2, 2, 4)
        ids = [(await placed(maria, chai.id))["id"] for _ in days] + [(await placed(other, chai.id))["id"]]
        for order_id, day in zip(ids, (*days, 5), strict=True):
            moment = datetime(2026, 11, day, 23, 59, 59, 999_999, tzinfo=UTC)
            await sql.execute("UPDATE orders SET placed_at = $2 WHERE id = $1", order_id, moment)
        return maria, other, ids

    async def listed(self, person: Person, query: str = "") -> list[int]:
        answer = await person.api.get(f"/orders{query}")
        assert answer.status_code == 200, answer.text
        return [order["id"] for order in answer.json()]

    async def test_own_orders_newest_first(self, history: tuple[Person, Person, list[int]]) -> None:
        maria, other, (third, first, second, second_later, fourth, others) = history
        assert await self.listed(maria) == [fourth, third, second_later, second, first]
        assert await self.listed(other) == [others]
        assert await self.listed(other, f"?user_id={other.id}") == [others]

    async def test_is_followed_by_cursor(self, history: tuple[Person, Person, list[int]]) -> None:
        maria, _, (third, first, second, second_later, fourth, _) = history
        seen, path = [], "/orders?limit=2&status=placed"
        while path:
            answer = await maria.api.get(path)
            seen.append([order["id"] for order in answer.json()])
            link = answer.headers.get("link", "")
            path = link.partition(">")[0].removeprefix("</api/v1")
        assert seen == [[fourth, third], [second_later, second], [first]]

    async def test_is_an_array_of_whole_orders(self, make: Make) -> None:
        maria, chai = await make.user(), await make.item(stock=1)
        order = await placed(maria, chai.id)
        assert (await maria.api.get("/orders")).json() == [order]

    async def test_an_administrator_sees_all(
        self, make: Make, history: tuple[Person, Person, list[int]]
    ) -> None:
        _, other, ids = history
        admin = await make.admin()
        assert sorted(await self.listed(admin)) == ids
        assert await self.listed(admin, f"?user_id={other.id}") == [ids[-1]]
        assert await self.listed(admin, f"?user_id={MAX_ID}") == []

    async def test_filters(self, history: tuple[Person, Person, list[int]], sql: asyncpg.Connection) -> None:
        maria, _, (third, first, second, second_later, fourth, _) = history
        await brought_to(sql, {"id": third}, "paid")
        assert await self.listed(maria, "?status=paid") == [third]
        assert await self.listed(maria, "?placed_from=2026-11-03") == [fourth, third]
        assert await self.listed(maria, "?placed_until=2026-11-02") == [second_later, second, first]
        assert await self.listed(maria, "?placed_from=2026-11-02&placed_until=2026-11-02") == [
            second_later,
            second,
        ]
        assert await self.listed(maria, "?placed_from=0001-01-01&placed_until=9999-12-31&skip=4") == [first]

    async def test_other_peoples_are_for_administrators(self, make: Make) -> None:
        maria, other = await make.user(), await make.user()
        assert_problem(await maria.api.get(f"/orders?user_id={other.id}"), 403, "forbidden")

    async def test_bad_input(self, make: Make) -> None:
        maria, admin = await make.user(), await make.admin()
        query = "user_id=0&status=lost&placed_from=yesterday&placed_until=2026-02-30"
        pointers = "?user_id", "?status", "?placed_from", "?placed_until"
        assert_problem(await admin.api.get(f"/orders?{query}"), 422, "invalid_input", *pointers)
        # What a customer may not ask comes before what is wrong with it.
        assert_problem(await maria.api.get(f"/orders?{query}"), 403, "forbidden")
        assert_problem(await maria.api.get("/orders?product=1"), 422, "invalid_input", "?product")

    async def test_anonymous(self, api: Api) -> None:
        assert_problem(await api.get("/orders"), 401, "unauthenticated")


class TestCancelOrder:
    async def test_puts_back_what_it_took(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai, chang = await make.user(), await make.item(stock=2), await make.item(stock=7)
        lines = [{"product_id": chai.id, "quantity": 2}, {"product_id": chang.id, "quantity": 3}]
        order = (await maria.api.post("/orders", json={"lines": lines})).json()
        answer = await maria.api.post(f"/orders/{order['id']}/cancel", json={"reason": "Ordered twice"})
        cancelled = answer.json()
        assert answer.status_code == 200
        moment = cancelled.pop("cancelled_at")
        assert moment.endswith("Z")
        order.pop("cancelled_at")
        order["events"].append({"status": "cancelled", "at": moment, "by": "customer"})
        assert cancelled.pop("updated_at") > order.pop("updated_at")
        expected = {"status": "cancelled", "cancel_reason": "Ordered twice", "version": 2}
        assert cancelled == {**order, **expected}
        stock = await sql.fetch("SELECT item_id, quantity FROM stock ORDER BY item_id")
        assert [tuple(row) for row in stock] == [(chai.id, 2), (chang.id, 7)]
        back = await sql.fetch("SELECT * FROM stock_movements WHERE kind = 'return' ORDER BY item_id")
        assert [(row["item_id"], row["delta"], row["order_id"], row["actor_id"]) for row in back] == [
            (chai.id, 2, order["id"], maria.id),
            (chang.id, 3, order["id"], maria.id),
        ]
        assert (await maria.api.get(f"/items/{chai.id}")).json()["availability"] == "in_stock"

    async def test_the_customer_is_notified_of_any_cancellation(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=2)
        order = await placed(maria, chai.id)
        answer = await admin.api.post(f"/orders/{order['id']}/cancel")
        assert (answer.status_code, answer.json()["cancel_reason"]) == (200, None)
        [told] = await sql.fetch("SELECT * FROM notifications WHERE kind = 'order.cancelled'")
        assert (told["user_id"], told["title"], told["body"]) == (
            maria.id,
            f"Order {order['id']} is cancelled",
            "",
        )
        assert json.loads(told["data"]) == {"order_id": order["id"], "status": "cancelled", "total": "18.00"}

    async def test_a_paid_order_is_owed_a_refund(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=2)
        order = await placed(maria, chai.id)
        await brought_to(sql, order, "paid")
        cancelled = (await maria.api.post(f"/orders/{order['id']}/cancel")).json()
        assert (cancelled["status"], cancelled["refund_due"]) == ("cancelled", True)
        told = await sql.fetchval("SELECT body FROM notifications WHERE kind = 'order.cancelled'")
        assert told == "What was paid will be given back."

    @pytest.mark.parametrize("status", sorted({*STATUSES} - {"placed", "paid"}))
    async def test_is_refused_in_any_other_state(
        self, make: Make, sql: asyncpg.Connection, status: str
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=2)
        order = await placed(maria, chai.id)
        await brought_to(sql, order, status)
        before = (await maria.api.get(f"/orders/{order['id']}")).json()
        answer = await maria.api.post(f"/orders/{order['id']}/cancel")
        problem = assert_problem(answer, 409, "invalid_transition")
        assert (
            problem["detail"]
            == f"The order is {status}. Only an order that is placed or paid can be cancelled."
        )
        assert (await maria.api.get(f"/orders/{order['id']}")).json() == before
        assert await sql.fetchval("SELECT version FROM orders") == 1
        assert await sql.fetchval("SELECT quantity FROM stock") == 1

    async def test_an_order_that_took_nothing_puts_nothing_back(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=2)
        order = await placed(maria, chai.id)
        await sql.execute("DELETE FROM stock_movements WHERE order_id = $1", order["id"])
        assert (await maria.api.post(f"/orders/{order['id']}/cancel")).status_code == 200
        assert await sql.fetchval("SELECT quantity FROM stock") == 1
        assert await sql.fetchval("SELECT count(*) FROM stock_movements WHERE kind = 'return'") == 0

    async def test_a_withdrawn_product_comes_back_too(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=2)
        order = await placed(maria, chai.id, 2)
        await sql.execute("UPDATE items SET is_active = false")
        await maria.api.post(f"/orders/{order['id']}/cancel")
        assert await sql.fetchval("SELECT quantity FROM stock") == 2

    async def test_is_for_the_owner_and_administrators(
        self, make: Make, api: Api, sql: asyncpg.Connection
    ) -> None:
        maria, other, chai = await make.user(), await make.user(), await make.item(stock=2)
        order = await placed(maria, chai.id)
        assert_problem(await other.api.post(f"/orders/{order['id']}/cancel"), 404, "not_found")
        assert_problem(await other.api.post(f"/orders/{MAX_ID}/cancel"), 404, "not_found")
        assert_problem(await api.post(f"/orders/{order['id']}/cancel"), 401, "unauthenticated")
        assert await sql.fetchval("SELECT status FROM orders") == "placed"

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [({"reason": ""}, "/reason"), ({"reason": "a\0b"}, "/reason"), ({"why": "x"}, "/why"), ([], "")],
    )
    async def test_bad_input(self, make: Make, sql: asyncpg.Connection, body: Any, pointer: str) -> None:
        maria, chai = await make.user(), await make.item(stock=2)
        order = await placed(maria, chai.id)
        answer = await maria.api.post(f"/orders/{order['id']}/cancel", json=body)
        assert_problem(answer, 422, "invalid_input", pointer)
        assert await sql.fetchval("SELECT status FROM orders") == "placed"


class TestChangeShipTo:
    async def test_without_a_country_it_does_not_become_the_united_states(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=1)
        order = await placed(maria, chai.id, ship_to=HOME)
        path, home = f"/orders/{order['id']}/ship-to", {"street": "Hauptstr. 1", "city": "Bonn"}
        assert_problem(await maria.api.put(path, json=home), 422, "invalid_input", "/country")
        assert await sql.fetchval("SELECT ship_to ->> 'country' FROM orders") == "DE"

    @pytest.mark.parametrize("status", ["placed", "paid"])
    async def test_before_it_ships(self, make: Make, sql: asyncpg.Connection, status: str) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=1)
        order = await placed(maria, chai.id)
        await brought_to(sql, order, status)
        before = (await maria.api.get(f"/orders/{order['id']}")).json()
        answer = await maria.api.put(f"/orders/{order['id']}/ship-to", json=HOME)
        after = answer.json()
        assert after.pop("updated_at") > before.pop("updated_at")
        assert (answer.status_code, after) == (200, {**before, "ship_to": BERLIN, "version": 2})
        moved = {**HOME, "street": "Elsewhere 1", "name": "Alfreds Futterkiste"}
        answer = await admin.api.put(f"/orders/{order['id']}/ship-to", json=moved)
        assert answer.json()["ship_to"] == {**moved, "region": None}
        assert (await maria.api.get("/users/profile")).json()["address"] is None

    @pytest.mark.parametrize("status", sorted({*STATUSES} - {"placed", "paid"}))
    async def test_is_refused_in_any_other_state(
        self, make: Make, sql: asyncpg.Connection, status: str
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=1)
        order = await placed(maria, chai.id)
        await brought_to(sql, order, status)
        answer = await maria.api.put(f"/orders/{order['id']}/ship-to", json=HOME)
        assert_problem(answer, 409, "invalid_transition")
        [row] = await sql.fetch("SELECT ship_to, version FROM orders")
        assert tuple(row) == (None, 1)

    async def test_is_for_the_owner_and_administrators(
        self, make: Make, api: Api, sql: asyncpg.Connection
    ) -> None:
        maria, other, chai = await make.user(), await make.user(), await make.item(stock=1)
        order = await placed(maria, chai.id)
        for order_id in (order["id"], MAX_ID):
            assert_problem(await other.api.put(f"/orders/{order_id}/ship-to", json=HOME), 404, "not_found")
        assert_problem(await api.put(f"/orders/{order['id']}/ship-to", json=HOME), 401, "unauthenticated")
        assert await sql.fetchval("SELECT ship_to FROM orders") is None

    async def test_bad_input(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=1)
        order = await placed(maria, chai.id)
        answer = await maria.api.put(f"/orders/{order['id']}/ship-to", json={"city": "B\0nn", "zip": "1"})
        assert_problem(answer, 422, "invalid_input", "/street", "/city", "/country", "/zip")
        assert await sql.fetchval("SELECT ship_to FROM orders") is None
