"""Which requests raise which event, what stands in it, and that nothing else does."""

import json
from typing import Any

import asyncpg
import pytest

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make
from tests.helpers.mailbox import mailed_token
from tests.helpers.metadata import in_events

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


async def seen_by_staff(make: Make, order_id: int) -> Any:
    """The order with all that an event has of it."""
    return in_events((await (await make.admin()).api.get(f"/orders/{order_id}")).json())


async def version(sql: asyncpg.Connection, table: str, row_id: int) -> Any:
    return await sql.fetchval(f"SELECT version FROM {table} WHERE id = $1", row_id)


class TestUsers:
    async def test_registration(self, api: Api, sql: asyncpg.Connection) -> None:
        body = {"email": "maria@shop.example", "password": PASSWORD, "full_name": "Maria Anders"}
        answer = await api.post("/users", json=body, headers={"X-Request-ID": "requested-1"})
        user, event = answer.json(), await the_one(sql)
        whole = {**user, "external_id": None, "scopes": [], "version": 1}
        assert content_of(event) == ("user.registered", user["id"], user["id"], whole)
        assert event["request_id"] == "requested-1"
        headers = await sql.fetchval("SELECT headers FROM pgqueuer WHERE entrypoint = 'event'")
        assert json.loads(headers)["request_id"] == "requested-1"

    async def test_a_registration_that_is_refused(self, make: Make, sql: asyncpg.Connection) -> None:
        await make.user(email="maria@shop.example")
        body = {"email": "MARIA@shop.example", "password": PASSWORD, "full_name": "Maria Anders"}
        assert_problem(await make.api.post("/users", json=body), 409, "email_taken")
        assert await raised(sql) == []

    async def test_a_changed_profile(self, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        body = {"full_name": "Ana Trujillo", "address": HOME}
        user = (await maria.api.patch("/users/profile", json=body)).json()
        whole = {**user, "external_id": None, "scopes": [], "version": await version(sql, "users", maria.id)}
        assert content_of(await the_one(sql)) == ("user.updated", maria.id, maria.id, whole)
        assert user["address"]["street"] == HOME["street"]

    async def test_a_profile_that_is_left_as_it_is(self, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        assert (await maria.api.patch("/users/profile", json={})).status_code == 200
        assert await raised(sql) == []

    async def test_what_an_administrator_does(self, make: Make, sql: asyncpg.Connection) -> None:
        admin, maria = await make.admin(), await make.user()
        for change, raises in (
            ({"is_admin": True}, "user.updated"),
            ({"is_active": False}, "user.deactivated"),
            ({"is_active": True, "is_admin": False}, "user.activated"),
        ):
            user = (await admin.api.patch(f"/admin/users/{maria.id}", json=change)).json()
            whole = {**in_events(user), "version": await version(sql, "users", maria.id)}
            assert content_of((await raised(sql))[-1]) == (raises, maria.id, maria.id, whole)
        assert len(await raised(sql)) == 3

    async def test_a_confirmed_address(self, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        await maria.api.post("/auth/verify-email")
        body = {"token": await mailed_token(make.container, maria.email)}
        assert (await maria.api.post("/auth/verify-email/confirm", json=body)).status_code == 204
        event = await the_one(sql)
        assert (event["type"], event["user_id"]) == ("user.updated", maria.id)
        assert (event["data"]["email_verified"], event["data"]["version"]) == (True, 2)

    async def test_an_account_that_is_deleted(self, make: Make, sql: asyncpg.Connection) -> None:
        """What is left names no person, and says what there is and is no longer."""
        maria, ana, admin = await make.user(address=HOME), await make.user(), await make.admin()
        chai = await make.item(stock=5)
        for person in (maria, ana):
            order = {"product_id": chai.id, "quantity": 1}
            placed = (await person.api.post("/orders", json=order)).json()
        posts = [
            (await maria.api.post("/posts", json={"title": "Tea", "body": "Maria"})).json()["id"]
            for _ in range(3)
        ]
        await admin.api.post(f"/posts/{posts[0]}/publish")
        await maria.api.delete(f"/posts/{posts[1]}")
        await maria.api.patch("/users/profile", json={"full_name": "Ana Trujillo"})
        before = {(event["type"], event["object_id"]): event for event in await raised(sql)}
        body = {"current_password": PASSWORD}
        assert (await maria.api.request("DELETE", "/users/profile", json=body)).status_code == 204
        after = await raised(sql)
        assert [content_of(event) for event in after if event["user_id"] == ana.id] == [
            content_of(before["order.placed", placed["id"]])
        ]
        mine = [event for event in after if event["user_id"] == maria.id]
        order = next(event["data"] for event in before.values() if event["user_id"] == maria.id)
        published = before["post.published", posts[0]]["data"]
        unnamed = {
            "customer_name": "Erased customer",
            "customer_email": None,
            "ship_to": None,
            "cancel_reason": None,
        }
        assert [(event["type"], event["data"]) for event in mine] == [
            ("order.placed", {**order, **unnamed}),
            ("post.created", {}),
            ("post.created", {}),
            ("post.created", {}),
            ("post.published", {**published, "author_name": "Erased customer"}),
            ("post.deleted", {"id": posts[1]}),
            ("user.updated", {}),
            ("post.deleted", {"id": posts[2]}),
            ("user.erased", {"id": maria.id}),
        ]


class TestItems:
    async def test_created(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        item = (await admin.api.post("/items", json={"name": "Chai", "price": "18.00"})).json()
        assert content_of(await the_one(sql)) == ("item.created", item["id"], None, in_events(item))
        assert item["version"] == 1

    async def test_created_in_a_batch(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        body = [{"name": f"Tea {number}", "price": "18.00"} for number in range(30)]
        items = (await admin.api.post("/items/batch", json=body)).json()
        assert [content_of(event) for event in await raised(sql)] == [
            ("item.created", item["id"], None, in_events(item)) for item in items
        ]

    async def test_a_batch_that_is_refused(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        body = [{"name": "Tea", "price": "18.00", "sku": "TEA"}] * 2
        assert (await admin.api.post("/items/batch", json=body)).status_code == 409
        assert await raised(sql) == []

    async def test_updated(self, make: Make, sql: asyncpg.Connection) -> None:
        admin, chai = await make.admin(), await make.item()
        item = (await admin.api.patch(f"/items/{chai.id}", json={"price": "19.00"})).json()
        assert content_of(await the_one(sql)) == ("item.updated", chai.id, None, in_events(item))
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
        assert (event["type"], event["data"]["is_active"]) == ("item.withdrawn", False)

    async def test_for_sale_again(self, make: Make, sql: asyncpg.Connection) -> None:
        admin, chai = await make.admin(), await make.item(is_active=False)
        item = (await admin.api.patch(f"/items/{chai.id}", json={"is_active": True})).json()
        assert content_of(await the_one(sql)) == ("item.updated", chai.id, None, in_events(item))

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
        whole = await seen_by_staff(make, order["id"])
        assert content_of(await the_one(sql)) == ("order.placed", order["id"], maria.id, whole)
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
            whole = await seen_by_staff(make, order["id"])
            assert content_of(event) == (f"order.{whole['status']}", order["id"], maria.id, whole)
        assert [event["type"] for event in await raised(sql)] == [
            "order.placed", "order.paid", "order.shipped", "order.delivered",
        ]  # fmt: skip

    async def test_cancelled_once(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})).json()
        for status in (200, 409):
            assert (await maria.api.post(f"/orders/{order['id']}/cancel", json={})).status_code == status
        _, event = await raised(sql)
        whole = await seen_by_staff(make, order["id"])
        assert content_of(event) == ("order.cancelled", order["id"], maria.id, whole)

    async def test_refunded(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=5)
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})).json()
        await admin.api.post(f"/orders/{order['id']}/pay", json={"reference": "P-1"})
        await maria.api.post(f"/orders/{order['id']}/cancel", json={})
        refunded = await admin.api.post(f"/orders/{order['id']}/refund", json={"reference": "R-1"})
        whole = in_events(refunded.json())
        event = (await raised(sql))[-1]
        assert content_of(event) == ("order.refunded", order["id"], maria.id, whole)

    async def test_given_an_id_of_another_system(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=5)
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})).json()
        for _ in range(2):  # the second changes nothing
            answer = await admin.api.patch(f"/orders/{order['id']}", json={"external_id": "SO-1"})
            assert answer.status_code == 200, answer.text
        _, event = await raised(sql)
        assert content_of(event) == ("order.updated", order["id"], maria.id, in_events(answer.json()))

    async def test_redirected(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})).json()
        await maria.api.put(f"/orders/{order['id']}/ship-to", json=HOME)
        whole = await seen_by_staff(make, order["id"])
        _, event = await raised(sql)
        assert content_of(event) == ("order.redirected", order["id"], maria.id, whole)
        assert whole["ship_to"]["street"] == HOME["street"]


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
        post = (await maria.api.post("/posts", json={"title": "News", "body": "Chai."})).json()
        assert content_of(await the_one(sql)) == ("post.created", post["id"], maria.id, post)
        assert post["status"] == "pending"

    async def test_changed_and_deleted(self, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        post_id = await make.post(maria)
        for _ in range(2):  # the second changes nothing
            post = (await maria.api.patch(f"/posts/{post_id}", json={"title": "Tea"})).json()
        assert (await maria.api.delete(f"/posts/{post_id}")).status_code == 204
        assert [content_of(event) for event in await raised(sql)] == [
            ("post.updated", post_id, maria.id, post),
            ("post.deleted", post_id, maria.id, {"id": post_id}),
        ]
