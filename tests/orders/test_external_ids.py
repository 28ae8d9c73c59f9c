"""The shop's own ids of orders, and what else only staff and API keys see of an order."""

import json
from typing import Any

import asyncpg
import pytest

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Machine, Make, Person
from tests.helpers.identity import audited
from tests.helpers.orders import HOME, STAFF_MEMBERS, for_customers, placed


async def counts(sql: asyncpg.Connection) -> tuple[Any, ...]:
    """What an order would change."""
    [row] = await sql.fetch(
        "SELECT (SELECT count(*) FROM orders), (SELECT sum(quantity) FROM stock),"
        " (SELECT count(*) FROM audit_log), (SELECT count(*) FROM events)"
    )
    return tuple(row)


async def stored(sql: asyncpg.Connection, order_id: int) -> tuple[str | None, int]:
    [row] = await sql.fetch("SELECT external_id, version FROM orders WHERE id = $1", order_id)
    return row["external_id"], row["version"]


class TestCreateOrder:
    async def test_staff_and_keys_give_one(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, admin, till = (
            await make.user(),
            await make.admin(),
            await make.key("orders:read", "orders:write"),
        )
        chai = await make.item(stock=5, sku="NW-1")
        for number, api in enumerate((admin.api, till.api)):
            body = {
                "product_id": chai.id, "quantity": 1, "user_id": maria.id, "external_id": f" SO-{number} "
            }  # fmt: skip
            answer = await api.post("/orders", json=body)
            assert answer.status_code == 201, answer.text
            order = answer.json()
            assert {name: order[name] for name in STAFF_MEMBERS} == {
                "customer_email": maria.email,
                "external_id": f"SO-{number}",
                "metadata": {},
                "payment_reference": None,
                "refund_reference": None,
            }
            assert [line["sku"] for line in order["lines"]] == ["NW-1"]
            assert await stored(sql, order["id"]) == (f"SO-{number}", 1)
            got = await api.get(f"/orders/{order['id']}")
            assert (got.json(), got.headers["etag"]) == (order, answer.headers["etag"])
            own = await maria.api.get(f"/orders/{order['id']}")
            assert own.json() == for_customers(order)
            assert own.headers["etag"] != got.headers["etag"]

    async def test_a_customer_may_not(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        before = await counts(sql)
        body = {"product_id": chai.id, "quantity": 1, "external_id": "SO-1"}
        assert_problem(await maria.api.post("/orders", json=body), 403, "forbidden")
        # Whatever else is wrong with it.
        body = {**body, "quantity": "x"}
        assert_problem(await maria.api.post("/orders", json=body), 403, "forbidden")
        assert await counts(sql) == before

    async def test_one_that_is_taken_names_its_order(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, admin = await make.user(), await make.admin()
        chai, chang = await make.item(stock=1), await make.item(stock=1)
        body = {"product_id": chai.id, "quantity": 1, "user_id": maria.id, "external_id": "SO-1"}
        first = (await admin.api.post("/orders", json=body)).json()
        before = await counts(sql)
        # The first one took all of the stock: that is not what is wrong with the second.
        for again in (body, {**body, "product_id": chang.id}):
            answer = await admin.api.post("/orders", json=again)
            problem = assert_problem(answer, 409, "external_id_taken", "/external_id")
            assert problem["id"] == first["id"]
        assert await counts(sql) == before

    async def test_case_counts(self, make: Make) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=9)
        ids = []
        for external_id in ("so-1", "SO-1", "So-1"):
            order = await placed(admin, chai.id, user_id=maria.id, external_id=external_id)
            ids.append(order["id"])
        for order_id, external_id in zip(ids, ("so-1", "SO-1", "So-1"), strict=True):
            found = (await admin.api.get("/orders", params={"external_id": external_id})).json()
            assert [order["id"] for order in found] == [order_id]

    @pytest.mark.parametrize("external_id", ["", "  ", "a\nb", "x" * 101, 7])
    async def test_bad_ones(self, make: Make, sql: asyncpg.Connection, external_id: Any) -> None:
        admin, chai = await make.admin(), await make.item(stock=9)
        before = await counts(sql)
        body = {"product_id": chai.id, "quantity": 1, "user_id": admin.id, "external_id": external_id}
        answer = await admin.api.post("/orders", json=body)
        assert_problem(answer, 422, "invalid_input", "/external_id")
        assert await counts(sql) == before

    async def test_events_have_what_staff_sees(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=5, sku="NW-1")
        order = await placed(maria, chai.id)
        assert set(order).isdisjoint(STAFF_MEMBERS)
        [data] = await sql.fetch("SELECT data FROM events WHERE type = 'order.placed'")
        event = json.loads(data["data"])
        assert for_customers(event) == order
        assert (event["customer_email"], event["external_id"]) == (maria.email, None)
        assert [line["sku"] for line in event["lines"]] == ["NW-1"]


class TestUpdateOrder:
    @pytest.fixture
    async def order(self, make: Make) -> tuple[Person, dict[str, Any]]:
        maria, chai = await make.user(), await make.item(stock=5)
        return maria, await placed(maria, chai.id, ship_to=HOME)

    @pytest.fixture
    async def till(self, make: Make) -> Machine:
        return await make.key("orders:read", "orders:write")

    async def test_sets_changes_and_removes_it(
        self, order: tuple[Person, dict[str, Any]], till: Machine, sql: asyncpg.Connection
    ) -> None:
        (maria, was), path = order, f"/orders/{order[1]['id']}"
        for version, external_id in ((2, "SO-1"), (3, "SO-2"), (4, None)):
            answer = await till.api.patch(path, json={"external_id": external_id})
            changed = answer.json()
            assert (answer.status_code, changed["external_id"], changed["version"]) == (
                200, external_id, version
            )  # fmt: skip
            assert (await till.api.get(path)).json() == changed
            own = (await maria.api.get(path)).json()
            assert own == for_customers(changed)
            assert {**own, "version": 1, "updated_at": was["updated_at"]} == was
            assert await stored(sql, was["id"]) == (external_id, version)

    async def test_is_audited_without_the_ids(
        self, order: tuple[Person, dict[str, Any]], make: Make, sql: asyncpg.Connection
    ) -> None:
        admin = await make.admin()
        last = await sql.fetchval("SELECT max(id) FROM audit_log")
        await admin.api.patch(f"/orders/{order[1]['id']}", json={"external_id": "SO-1"})
        changed = {"changed": ["external_id"]}
        assert await audited(sql, last) == [("order.changed", admin.id, "order", order[1]["id"], changed)]

    @pytest.mark.parametrize("body", [{}, {"external_id": None}])
    async def test_what_changes_nothing(
        self, order: tuple[Person, dict[str, Any]], till: Machine, sql: asyncpg.Connection, body: Any
    ) -> None:
        before = await counts(sql)
        answer = await till.api.patch(f"/orders/{order[1]['id']}", json=body)
        assert (answer.status_code, answer.json()["version"]) == (200, 1)
        await till.api.patch(f"/orders/{order[1]['id']}", json=body)
        assert (await counts(sql), await stored(sql, order[1]["id"])) == (before, (None, 1))

    async def test_again(
        self, order: tuple[Person, dict[str, Any]], till: Machine, sql: asyncpg.Connection
    ) -> None:
        answers = [
            (await till.api.patch(f"/orders/{order[1]['id']}", json={"external_id": "SO-1"})).json()
            for _ in range(2)
        ]
        assert answers[0] == answers[1]
        assert await stored(sql, order[1]["id"]) == ("SO-1", 2)

    async def test_one_that_is_taken(
        self, order: tuple[Person, dict[str, Any]], make: Make, till: Machine, sql: asyncpg.Connection
    ) -> None:
        maria, was = order
        other = await placed(maria, (await make.item(stock=1)).id)
        await till.api.patch(f"/orders/{was['id']}", json={"external_id": "SO-1"})
        before = await counts(sql)
        answer = await till.api.patch(f"/orders/{other['id']}", json={"external_id": "SO-1"})
        problem = assert_problem(answer, 409, "external_id_taken", "/external_id")
        assert problem["id"] == was["id"]
        assert (await counts(sql), await stored(sql, other["id"])) == (before, (None, 1))

    async def test_in_whatever_state(
        self, order: tuple[Person, dict[str, Any]], till: Machine, sql: asyncpg.Connection
    ) -> None:
        maria, was = order
        path = f"/orders/{was['id']}"
        await till.api.post(f"{path}/pay", json={"reference": "pi_1"})
        await maria.api.post(f"{path}/cancel")
        refunded = (await till.api.post(f"{path}/refund", json={"reference": "re_1"})).json()
        assert (refunded["payment_reference"], refunded["refund_reference"]) == ("pi_1", "re_1")
        answer = await till.api.patch(path, json={"external_id": "SO-1"})
        expected = {**refunded, "external_id": "SO-1", "version": refunded["version"] + 1}
        assert {**answer.json(), "updated_at": refunded["updated_at"]} == expected

    async def test_if_match(
        self, order: tuple[Person, dict[str, Any]], till: Machine, sql: asyncpg.Connection
    ) -> None:
        maria, was = order
        path = f"/orders/{was['id']}"
        seen = [(await api.get(path)).headers["etag"] for api in (till.api, maria.api)]
        for number, tag in enumerate(seen):
            # The version counts, by whichever view of it.
            answer = await till.api.patch(
                path, json={"external_id": f"SO-{number}"}, headers={"If-Match": tag}
            )
            assert answer.status_code == 200, answer.text
            await sql.execute("UPDATE orders SET version = 1 WHERE id = $1", was["id"])
        answer = await till.api.patch(path, json={"external_id": "SO-9"})
        stale = await till.api.patch(path, json={"external_id": "SO-7"}, headers={"If-Match": seen[0]})
        assert_problem(stale, 412, "precondition_failed")
        assert await stored(sql, was["id"]) == ("SO-9", 2)

    async def test_is_for_staff(
        self, order: tuple[Person, dict[str, Any]], make: Make, api: Api, sql: asyncpg.Connection
    ) -> None:
        maria, was = order
        path, body, reader = f"/orders/{was['id']}", {"external_id": "SO-1"}, await make.key("orders:read")
        assert_problem(await maria.api.patch(path, json=body), 403, "forbidden")
        assert_problem(await (await make.user()).api.patch(path, json=body), 403, "forbidden")
        assert_problem(await reader.api.patch(path, json=body), 403, "insufficient_scope")
        assert_problem(await api.patch(path, json=body), 401, "unauthenticated")
        assert await stored(sql, was["id"]) == (None, 1)

    async def test_no_such_order(self, till: Machine) -> None:
        assert_problem(await till.api.patch("/orders/9", json={"external_id": "SO-1"}), 404, "not_found")


class TestListOrders:
    async def test_by_external_id(self, make: Make) -> None:
        maria, admin, reader = await make.user(), await make.admin(), await make.key("orders:read")
        chai = await make.item(stock=5)
        order = await placed(admin, chai.id, user_id=maria.id, external_id="SO-1")
        await placed(maria, chai.id)
        for api in (admin.api, reader.api):
            assert (await api.get("/orders?external_id=SO-1")).json() == [order]
            assert (await api.get("/orders?external_id=SO-2")).json() == []
        assert (await admin.api.get(f"/orders?external_id=SO-1&user_id={admin.id}")).json() == []

    async def test_a_customer_may_not(self, make: Make) -> None:
        maria = await make.user()
        assert_problem(await maria.api.get("/orders?external_id=SO-1"), 403, "forbidden")
        assert_problem(await maria.api.get("/orders?external_id=&status=lost"), 403, "forbidden")

    async def test_everywhere_customers_see_none_of_it(self, make: Make) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=5, sku="NW-SECRET")
        body = {"product_id": chai.id, "quantity": 1, "user_id": maria.id, "external_id": "SO-SECRET"}
        order = (await admin.api.post("/orders", json={**body, "ship_to": HOME})).json()
        await admin.api.post(f"/orders/{order['id']}/pay", json={"reference": "pi_SECRET"})
        for method, path, sent in (
            ("GET", "/orders", None),
            ("GET", f"/orders/{order['id']}", None),
            ("PUT", f"/orders/{order['id']}/ship-to", HOME),
            ("POST", f"/orders/{order['id']}/cancel", {"reason": "Ordered twice"}),
            ("GET", f"/users/{maria.id}", None),
            ("GET", f"/dashboard/{maria.id}", None),
            ("GET", "/notifications", None),
        ):
            answer = await maria.api.request(method, path, json=sent)
            assert answer.status_code == 200, answer.text
            assert "SECRET" not in answer.text
        for path in (f"/users/{maria.id}", f"/dashboard/{maria.id}"):
            [shown] = (await admin.api.get(path)).json()["orders"]
            assert shown == (await admin.api.get(f"/orders/{order['id']}")).json()

    async def test_what_another_row_changes_gets_another_tag(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        """An order's version does not count a new e-mail address or SKU."""
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=5, sku="NW-1")
        order = await placed(maria, chai.id)
        path, tags = f"/orders/{order['id']}", list[str]()
        for statement in (
            "SELECT",
            "UPDATE users SET email = 'new@shop.example' WHERE NOT is_admin",
            "UPDATE items SET sku = 'NW-2'",
        ):  # fmt: skip
            await sql.execute(statement)
            answer = await admin.api.get(path, headers={"If-None-Match": ", ".join(tags) or '"x"'})
            assert answer.status_code == 200
            tags.append(answer.headers["etag"])
        assert (await admin.api.get(path, headers={"If-None-Match": tags[-1]})).status_code == 304
        assert answer.json()["lines"][0]["sku"] == "NW-2"

    async def test_an_erased_customer_has_no_address(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=5)
        order = await placed(maria, chai.id)
        answer = await maria.api.request(
            "DELETE", "/users/profile", json={"current_password": "correct-horse-1"}
        )
        assert answer.status_code == 204
        assert (await admin.api.get(f"/orders/{order['id']}")).json()["customer_email"] is None
