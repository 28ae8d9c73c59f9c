"""Which requests raise which event, what stands in it, and that nothing else does."""

import json
from typing import Any

import asyncpg
import pytest

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make

HOME = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}


async def raised(sql: asyncpg.Connection) -> list[dict[str, Any]]:
    """The events in their order, each of which has exactly one job."""
    rows = [dict(row) for row in await sql.fetch("SELECT * FROM events ORDER BY id")]
    waiting = await sql.fetch("SELECT payload FROM pgqueuer WHERE entrypoint = 'event' ORDER BY id")
    assert [json.loads(row["payload"]) for row in waiting] == [{"event_id": row["id"]} for row in rows]
    return [{**row, "data": json.loads(row["data"])} for row in rows]


async def the_one(sql: asyncpg.Connection) -> dict[str, Any]:
    [event] = await raised(sql)
    return event


def content_of(event: dict[str, Any]) -> tuple[Any, ...]:
    return event["type"], event["object_id"], event["user_id"], event["data"]


async def version(sql: asyncpg.Connection, table: str, row_id: int) -> Any:
    return await sql.fetchval(f"SELECT version FROM {table} WHERE id = $1", row_id)


class TestUsers:
    async def test_registration(self, api: Api, sql: asyncpg.Connection) -> None:
        body = {"email": "maria@shop.example", "password": PASSWORD, "full_name": "Maria Anders"}
        answer = await api.post("/users", json=body, headers={"X-Request-ID": "requested-1"})
        user, event = answer.json(), await the_one(sql)
        assert content_of(event) == ("user.registered", user["id"], user["id"], {**user, "version": 1})
        assert event["request_id"] == "requested-1"
        headers = await sql.fetchval("SELECT headers FROM pgqueuer WHERE entrypoint = 'event'")
        assert json.loads(headers)["request_id"] == "requested-1"

    async def test_a_registration_that_is_refused(self, make: Make, sql: asyncpg.Connection) -> None:
        await make.user(email="maria@shop.example")
        body = {"email": "MARIA@shop.example", "password": PASSWORD, "full_name": "Maria Anders"}
        assert_problem(await make.api.post("/users", json=body), 409, "email_taken")
        assert await raised(sql) == []

    async def test_deleting_ones_account_takes_them_along(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, ana, chai = await make.user(), await make.user(), await make.item(stock=5)
        for person in (maria, ana):
            await person.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
        body = {"current_password": PASSWORD}
        assert (await maria.api.request("DELETE", "/users/profile", json=body)).status_code == 204
        assert [row["user_id"] for row in await sql.fetch("SELECT user_id FROM events")] == [ana.id]


class TestItems:
    async def test_created(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        item = (await admin.api.post("/items", json={"name": "Chai", "price": "18.00"})).json()
        assert content_of(await the_one(sql)) == ("item.created", item["id"], None, item)
        assert item["version"] == 1

    async def test_created_in_a_batch(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        body = [{"name": f"Tea {number}", "price": "18.00"} for number in range(30)]
        items = (await admin.api.post("/items/batch", json=body)).json()
        assert [content_of(event) for event in await raised(sql)] == [
            ("item.created", item["id"], None, item) for item in items
        ]

    async def test_a_batch_that_is_refused(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        body = [{"name": "Tea", "price": "18.00", "sku": "TEA"}] * 2
        assert (await admin.api.post("/items/batch", json=body)).status_code == 409
        assert await raised(sql) == []

    async def test_updated(self, make: Make, sql: asyncpg.Connection) -> None:
        admin, chai = await make.admin(), await make.item()
        item = (await admin.api.patch(f"/items/{chai.id}", json={"price": "19.00"})).json()
        assert content_of(await the_one(sql)) == ("item.updated", chai.id, None, item)
        assert (item["price"], item["version"]) == ("19.00", 2)

    async def test_a_patch_that_changes_nothing(self, make: Make, sql: asyncpg.Connection) -> None:
        admin, chai = await make.admin(), await make.item(price="18.00")
        assert (await admin.api.patch(f"/items/{chai.id}", json={"price": "18.00"})).status_code == 200
        assert await raised(sql) == []

    async def test_withdrawn_once_however_often_it_is_requested(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin, chai = await make.admin(), await make.item()
        for _ in range(2):
            assert (await admin.api.delete(f"/items/{chai.id}")).status_code == 204
        event = await the_one(sql)
        assert (event["type"], event["data"]["is_active"]) == ("item.updated", False)

    @pytest.mark.parametrize("by", ["sale", "correction"])
    async def test_fallen_to_the_reorder_level(self, make: Make, sql: asyncpg.Connection, by: str) -> None:
        admin, chai = await make.admin(), await make.item(stock=5, reorder_level=3)
        for _ in range(2):
            if by == "sale":
                await admin.api.post("/orders", json={"product_id": chai.id, "quantity": 2})
            else:
                body = {"delta": -2, "reason": "broken"}
                await admin.api.post(f"/items/{chai.id}/stock", json=body)
        [event] = [event for event in await raised(sql) if event["type"] == "item.low_stock"]
        assert content_of(event) == (
            "item.low_stock",
            chai.id,
            None,
            {
                "id": chai.id,
                "sku": chai.sku,
                "name": "Chai",
                "availability": "low_stock",
                "quantity": 3,
                "reorder_level": 3,
                "version": 2,
            },
        )

    async def test_imports_are_no_events(self, make: Make, sql: asyncpg.Connection) -> None:
        await make.item()
        assert await raised(sql) == []


class TestOrders:
    async def test_placed(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})).json()
        assert content_of(await the_one(sql)) == (
            "order.placed",
            order["id"],
            maria.id,
            {**order, "version": await version(sql, "orders", order["id"])},
        )
        assert order["total"] == "36.00"

    async def test_refused(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=1)
        answer = await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})
        assert_problem(answer, 409, "out_of_stock")
        assert await raised(sql) == []

    async def test_sent_again_under_its_key(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        for _ in range(2):
            answer = await maria.api.post(
                "/orders",
                json={"product_id": chai.id, "quantity": 1},
                headers={"Idempotency-Key": "order-of-maria-1"},
            )
            assert answer.status_code == 201
        assert (await the_one(sql))["type"] == "order.placed"

    async def test_each_transition(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, admin = await make.user(address=HOME), await make.admin()
        chai = await make.item(stock=5)
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})).json()
        for action, body in (("pay", {"reference": "P-1"}), ("ship", {"tracking": "T-1"}), ("deliver", {})):
            answer = await admin.api.post(f"/orders/{order['id']}/{action}", json=body)
            assert answer.status_code == 200, answer.text
            event = (await raised(sql))[-1]
            shown = (await maria.api.get(f"/orders/{order['id']}")).json()
            whole = {**shown, "version": await version(sql, "orders", order["id"])}
            assert content_of(event) == (f"order.{shown['status']}", order["id"], maria.id, whole)
        assert [event["type"] for event in await raised(sql)] == [
            "order.placed", "order.paid", "order.shipped", "order.delivered",
        ]  # fmt: skip

    async def test_cancelled_once(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})).json()
        for status in (200, 409):
            assert (await maria.api.post(f"/orders/{order['id']}/cancel", json={})).status_code == status
        _, event = await raised(sql)
        shown = (await maria.api.get(f"/orders/{order['id']}")).json()
        whole = {**shown, "version": await version(sql, "orders", order["id"])}
        assert content_of(event) == ("order.cancelled", order["id"], maria.id, whole)


class TestPosts:
    async def test_published_by_an_administrator(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, admin = await make.user(), await make.admin()
        post_id = await make.post(maria, published=False)
        for _ in range(2):
            post = (await admin.api.post(f"/posts/{post_id}/publish")).json()
        assert content_of(await the_one(sql)) == ("post.published", post_id, maria.id, post)

    async def test_an_administrators_own(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        post = (await admin.api.post("/posts", json={"title": "News", "body": "Chai is back."})).json()
        assert content_of(await the_one(sql)) == ("post.published", post["id"], admin.id, post)

    async def test_a_customers_waits(self, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        assert (await maria.api.post("/posts", json={"title": "News", "body": "Chai."})).status_code == 201
        assert await raised(sql) == []
