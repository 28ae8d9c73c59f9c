import json
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from service.container.api import Container
from service.errors import Unprocessable
from service.orders.placing import service as placing
from service.orders.schemas import OrderCreate
from service.platform.http.schemas import MAX_ID
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.orders import HOME, recorded

#: As it goes out.
BERLIN = {**HOME, "name": None, "region": None}
LINE = {"product_id": 1, "quantity": 1}


async def everything(sql: asyncpg.Connection) -> list[tuple[Any, ...]]:
    """All that an order touches, to be the same after a refusal."""
    statements = (
        "SELECT id, version FROM orders",
        "SELECT order_id, product_id FROM order_lines",
        "SELECT item_id, quantity FROM stock",
        "SELECT id FROM stock_movements",
        "SELECT id, version, availability FROM items",
        "SELECT id FROM notifications",
    )
    return [row for statement in statements for row in sorted(map(tuple, await sql.fetch(statement)))]


@pytest.fixture
async def unpaid(sql: asyncpg.Connection) -> Any:
    """Gives a person so many unpaid orders."""

    async def insert(person: Person, count: int) -> None:
        for _ in range(count):
            await recorded(sql, person)

    return insert


class TestPlacing:
    async def test_one_product(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(price="18.00", stock=39)
        answer = await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})
        order = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/api/v1/orders/{order['id']}"
        assert (await maria.api.get(answer.headers["location"].removeprefix("/api/v1"))).json() == order
        moment = order.pop("placed_at")
        assert moment.endswith("Z")
        assert order == {
            "id": order["id"],
            "user_id": maria.id,
            "customer_name": "Maria Anders",
            "status": "placed",
            "shipping": "standard",
            "lines": [
                {
                    "product_id": chai.id,
                    "name": "Chai",
                    "quantity": 2,
                    "unit_price": "18.00",
                    "discount_pct": "0.00",
                    "line_total": "36.00",
                }
            ],
            "subtotal": "36.00",
            "discount": "0.00",
            "shipping_fee": "0.00",
            "total": "36.00",
            "currency": "USD",
            "ship_to": None,
            "reference": None,
            "version": 1,
            "updated_at": moment,
            "refund_due": False,
            "cancel_reason": None,
            "tracking": None,
            "events": [{"status": "placed", "at": moment, "by": "customer"}],
            "paid_at": None,
            "shipped_at": None,
            "delivered_at": None,
            "cancelled_at": None,
            "refunded_at": None,
        }
        assert await sql.fetchval("SELECT quantity FROM stock") == 37
        [movement] = await sql.fetch("SELECT * FROM stock_movements WHERE kind = 'sale'")
        assert (movement["item_id"], movement["delta"]) == (chai.id, -2)
        assert (movement["order_id"], movement["actor_id"]) == (order["id"], maria.id)

    async def test_many_lines_merged_in_the_order_of_first_mention(self, make: Make) -> None:
        maria = await make.user()
        chai, chang = (
            await make.item(price="18.00", stock=9),
            await make.item(name="Chang", price="19.00", stock=9),
        )
        lines = [
            {"product_id": chang.id, "quantity": 1},
            {"product_id": chai.id, "quantity": 2, "unit_price": "18.00"},
            {"product_id": chang.id, "quantity": 3, "unit_price": 19, "discount_pct": 0},
        ]
        body = {"lines": lines, "shipping": "express", "reference": "PO 4711"}
        order = (await maria.api.post("/orders", json=body)).json()
        assert [(each["product_id"], each["quantity"]) for each in order["lines"]] == [
            (chang.id, 4),
            (chai.id, 2),
        ]
        assert (order["total"], order["shipping"], order["reference"]) == ("112.00", "express", "PO 4711")

    async def test_the_fee_is_that_of_the_shipping(self, make: Make, container: Container) -> None:
        maria, chai = await make.user(), await make.item(stock=1)
        rates = {"express": Decimal("4.90")}
        settings = container.settings.model_copy(update={"shipping_rates": rates, "currency": "EUR"})
        new = OrderCreate(product_id=chai.id, quantity=1, shipping="express")
        async with container.database.transaction() as session:
            order = await placing.place(session, settings, maria.caller, new)
        assert (order.subtotal, order.shipping_fee, order.total) == (
            Decimal(18),
            Decimal("4.90"),
            Decimal("22.90"),
        )
        assert order.currency == "EUR"

    async def test_the_address_given_is_used(self, make: Make) -> None:
        maria = await make.user(address={"street": "Elsewhere 1", "city": "Bonn", "country": "DE"})
        chai = await make.item(stock=1)
        body = {"product_id": chai.id, "quantity": 1, "ship_to": HOME}
        assert (await maria.api.post("/orders", json=body)).json()["ship_to"] == BERLIN

    async def test_what_was_copied_never_changes(self, make: Make) -> None:
        maria, admin = await make.user(address=HOME), await make.admin()
        chai = await make.item(stock=1)
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})).json()
        assert (order["ship_to"], order["customer_name"]) == (BERLIN, "Maria Anders")
        await maria.api.patch("/users/profile", json={"full_name": "M. Anders", "address": {"city": "Bonn"}})
        item = await admin.api.get(f"/items/{chai.id}")
        renamed = await admin.api.patch(
            f"/items/{chai.id}",
            json={"name": "Black tea", "price": "20.00"},
            headers={"If-Match": item.headers.get("etag", "*")},
        )
        assert renamed.json()["price"] == "20.00"
        assert (await maria.api.get(f"/orders/{order['id']}")).json() == order

    async def test_the_customer_is_notified(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        await make.admin()
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})).json()
        told = await sql.fetch("SELECT * FROM notifications")
        assert [(each["user_id"], each["kind"]) for each in told] == [(maria.id, "order.placed")]
        assert json.loads(told[0]["data"]) == {"order_id": order["id"], "status": "placed", "total": "36.00"}
        assert (told[0]["title"], told[0]["body"]) == (
            f"Order {order['id']} is placed",
            "36.00 USD in total.",
        )

    async def test_administrators_are_notified_when_an_item_falls_to_its_reorder_level(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=5, reorder_level=3)
        for _ in range(2):
            await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})
        told = await sql.fetch("SELECT user_id, data FROM notifications WHERE kind = 'item.low_stock'")
        assert [(each["user_id"], json.loads(each["data"])["quantity"]) for each in told] == [(admin.id, 3)]
        assert (await maria.api.get(f"/items/{chai.id}")).json()["availability"] == "low_stock"


class TestAdministrators:
    @pytest.mark.parametrize("zero", ["-0", "-0.00", -0.0, 0])
    async def test_no_discount_has_no_sign(self, make: Make, zero: object) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=20)
        line = {"product_id": chai.id, "quantity": 1, "discount_pct": zero}
        for body in (line, {"lines": [line]}):
            order = (await admin.api.post("/orders", json={**body, "user_id": maria.id})).json()
            assert (order["lines"][0]["discount_pct"], order["discount"]) == ("0.00", "0.00")

    async def test_enter_agreed_prices_for_a_customer(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, admin, chai = await make.user(address=HOME), await make.admin(), await make.item(stock=20)
        line = {"product_id": chai.id, "quantity": 12, "unit_price": "14.00", "discount_pct": "5.5"}
        order = (await admin.api.post("/orders", json={**line, "user_id": maria.id})).json()
        assert (order["user_id"], order["customer_name"], order["ship_to"]) == (
            maria.id,
            "Maria Anders",
            BERLIN,
        )
        assert (order["subtotal"], order["discount"], order["total"]) == ("168.00", "9.24", "158.76")
        assert order["lines"][0]["discount_pct"] == "5.50"
        assert await sql.fetchval("SELECT actor_id FROM stock_movements WHERE kind = 'sale'") == admin.id
        assert await sql.fetchval("SELECT user_id FROM notifications") == maria.id

    async def test_order_for_themselves_where_no_user_is_named(self, make: Make) -> None:
        admin, chai = await make.admin(), await make.item(stock=1)
        order = (await admin.api.post("/orders", json={"product_id": chai.id, "quantity": 1})).json()
        assert (order["user_id"], order["total"]) == (admin.id, "18.00")

    @pytest.mark.parametrize("customer", ["unknown", "inactive"])
    async def test_for_an_unknown_user(self, make: Make, sql: asyncpg.Connection, customer: str) -> None:
        admin, chai = await make.admin(), await make.item(stock=1)
        user_id = MAX_ID if customer == "unknown" else (await make.user(is_active=False)).id
        before = await everything(sql)
        body = {"product_id": chai.id, "quantity": 1, "user_id": user_id}
        assert_problem(await admin.api.post("/orders", json=body), 422, "invalid_input", "/user_id")
        assert await everything(sql) == before

    async def test_may_exceed_the_bound_on_unpaid_orders(self, make: Make, unpaid: Any) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=1)
        await unpaid(maria, 20)
        body = {"product_id": chai.id, "quantity": 1, "user_id": maria.id}
        assert (await admin.api.post("/orders", json=body)).status_code == 201


class TestRefusals:
    async def refused(
        self, sql: asyncpg.Connection, person: Person, body: Any, status: int, code: str, *pointers: str
    ) -> dict[str, Any]:
        """Refused with this problem, and nothing has changed."""
        before = await everything(sql)
        problem = assert_problem(await person.api.post("/orders", json=body), status, code, *pointers)
        assert await everything(sql) == before
        return problem

    async def test_anonymous(self, api: Api) -> None:
        assert_problem(await api.post("/orders", json=LINE), 401, "unauthenticated")

    @pytest.mark.parametrize(
        ("body", "pointers"),
        [
            ({}, ["/lines"]),
            ({"shipping": "express"}, ["/lines"]),
            ({"product_id": 1}, ["/quantity"]),
            ({"quantity": 1}, ["/product_id"]),
            ({"lines": [LINE], **LINE}, ["/lines", "/product_id", "/quantity"]),
            ({"lines": [LINE], "discount_pct": "0"}, ["/lines", "/discount_pct"]),
            ({"lines": []}, ["/lines"]),
            ({"lines": [LINE] * 101}, ["/lines"]),
            ({"lines": [{"product_id": 1}]}, ["/lines/0/quantity"]),
            ({"lines": [{**LINE, "price": "1"}]}, ["/lines/0/price"]),
            ({"lines": [LINE, {**LINE, "quantity": 0}]}, ["/lines/1/quantity"]),
            ({**LINE, "quantity": 1001}, ["/quantity"]),
            ({**LINE, "quantity": 10**400}, ["/quantity"]),
            ({**LINE, "product_id": MAX_ID + 1}, ["/product_id"]),
            ({**LINE, "unit_price": "18.001"}, ["/unit_price"]),
            ({**LINE, "unit_price": "-1"}, ["/unit_price"]),
            ({**LINE, "unit_price": "1" + "0" * 11}, ["/unit_price"]),
            ({**LINE, "unit_price": "NaN"}, ["/unit_price"]),
            ({**LINE, "discount_pct": "100.01"}, ["/discount_pct"]),
            ({**LINE, "discount_pct": "1.005"}, ["/discount_pct"]),
            ({**LINE, "shipping": "pigeon"}, ["/shipping"]),
            ({**LINE, "reference": "a\0b"}, ["/reference"]),
            ({**LINE, "reference": "x" * 101}, ["/reference"]),
            (
                {**LINE, "ship_to": {"street": "x" * 10_000, "city": "B\0nn", "country": "DE"}},
                ["/ship_to/street", "/ship_to/city"],
            ),
            ({**LINE, "ship_to": {**HOME, "country": "XX"}}, ["/ship_to/country"]),
            ({**LINE, "ship_to": {"street": "Hauptstr. 1", "city": "Bonn"}}, ["/ship_to/country"]),
            ({**LINE, "user_id": 0}, ["/user_id"]),
            ({**LINE, "total": "1.00"}, ["/total"]),
        ],
    )
    async def test_bad_input(
        self, make: Make, sql: asyncpg.Connection, body: dict[str, Any], pointers: list[str]
    ) -> None:
        # What only staff may send is a 403 from a customer, before any fault of the body is told.
        staff = {"discount_pct", "user_id"} & body.keys() and "lines" not in body
        person = await make.admin() if staff else await make.user()
        await self.refused(sql, person, body, 422, "invalid_input", *pointers)

    async def test_another_customers_order_is_for_administrators(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, other = await make.user(), await make.user()
        for user_id in (other.id, maria.id):
            await self.refused(sql, maria, {**LINE, "user_id": user_id}, 403, "forbidden")

    async def test_a_discount_is_for_administrators(self, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        await self.refused(sql, maria, {**LINE, "discount_pct": "0.01"}, 403, "forbidden")
        lines = [LINE, {**LINE, "discount_pct": 5}]
        await self.refused(sql, maria, {"lines": lines}, 403, "forbidden")

    async def test_unknown_and_withdrawn_products(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, admin = await make.user(), await make.admin()
        chai, gone = await make.item(stock=1), await make.item(name="Chang", stock=1, is_active=False)
        lines = [{"product_id": number, "quantity": 1} for number in (MAX_ID, chai.id, gone.id)]
        for person in (maria, admin):
            body = {"lines": lines}
            problem = await self.refused(sql, person, body, 422, "invalid_input", "/lines/0/product_id")
            assert [fault["code"] for fault in problem["errors"]] == ["unknown_product"]
            body = {"lines": lines[1:]}
            problem = await self.refused(sql, person, body, 409, "item_withdrawn", "/lines/1/product_id")
            assert problem["products"] == [{"product_id": gone.id}]
            assert problem["detail"].startswith(f"No longer for sale: {gone.id}. ")
            assert "Chang" not in str(problem)
        await self.refused(sql, maria, lines[2], 409, "item_withdrawn", "/product_id")
        await self.refused(sql, maria, {**lines[2], "quantity": 2}, 409, "item_withdrawn", "/product_id")

    async def test_an_order_without_lines_is_refused_with_what_to_send(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        problem = await self.refused(sql, await make.user(), {}, 422, "invalid_input", "/lines")
        say = "Required: send either `lines`, or a single `product_id` with its `quantity`."
        assert problem["errors"] == [{"pointer": "/lines", "detail": say, "code": "missing"}]

    async def test_another_price_than_the_catalogues(self, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        chai, chang = await make.item(stock=1), await make.item(price="19.50", stock=0)
        seen = [(chai.id, "17.5"), (chang.id, "20.00")]
        lines = [{"product_id": number, "quantity": 1, "unit_price": price} for number, price in seen]
        lines.append({"product_id": (await make.item(stock=1)).id, "quantity": 1})
        problem = await self.refused(sql, maria, {"lines": lines}, 409, "price_changed")
        assert problem["prices"] == [
            {"product_id": chai.id, "yours": "17.50", "current": "18.00"},
            {"product_id": chang.id, "yours": "20.00", "current": "19.50"},
        ]

    async def test_lines_that_cannot_be_merged(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=2000)
        line = {"product_id": chai.id, "quantity": 501}
        await self.refused(sql, maria, {"lines": [line] * 2}, 422, "invalid_input", "/lines/1/quantity")
        lines = [{**line, "quantity": 1, "unit_price": price} for price in ("18.00", "17.00")]
        await self.refused(sql, maria, {"lines": lines}, 422, "invalid_input", "/lines/1/unit_price")

    async def test_overnight_shipping_needs_discounted_goods_of_fifty(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(price="25.00", stock=9)
        line = {"product_id": chai.id, "quantity": 2, "shipping": "overnight"}
        problem = await self.refused(sql, maria, {**line, "quantity": 1}, 422, "invalid_input", "/shipping")
        assert problem["detail"] == (
            "Overnight shipping requires a $50+ order total: goods worth at least 50.00 after discounts,"
            " without the shipping fee. These are worth 25.00: add some, or choose another shipping method."
        )
        await self.refused(sql, admin, {**line, "discount_pct": "0.02"}, 422, "invalid_input", "/shipping")
        assert (await maria.api.post("/orders", json=line)).json()["total"] == "50.00"

    async def test_more_than_can_be_stored(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, dear = await make.user(), await make.item(price="9999999999.99", stock=9)
        also = await make.item(price="0.01", stock=9)
        line = {"product_id": dear.id, "quantity": 1}
        await self.refused(sql, maria, {**line, "quantity": 2}, 422, "invalid_input", "/quantity")
        lines = [line, {"product_id": also.id, "quantity": 1}]
        await self.refused(sql, maria, {"lines": lines}, 422, "invalid_input", "/lines")
        assert (await maria.api.post("/orders", json=line)).json()["total"] == "9999999999.99"

    async def test_stock_of_all_lines_or_of_none(self, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        items = [
            await make.item(name=name, stock=stock)
            for name, stock in (("Chai", 5), ("Chang", 2), ("Tofu", 0))
        ]
        lines = [{"product_id": item.id, "quantity": 3} for item in items]
        problem = await self.refused(sql, maria, {"lines": lines}, 409, "out_of_stock")
        assert problem["products"] == [
            {"product_id": items[1].id, "name": "Chang", "requested": 3, "left": 2},
            {"product_id": items[2].id, "name": "Tofu", "requested": 3, "left": 0},
        ]

    async def test_the_last_one_is_sold_once(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=1)
        line = {"product_id": chai.id, "quantity": 1}
        assert (await maria.api.post("/orders", json=line)).status_code == 201
        problem = await self.refused(sql, maria, line, 409, "out_of_stock")
        assert problem["products"][0]["left"] == 0

    async def test_the_twenty_first_unpaid_order(
        self, make: Make, sql: asyncpg.Connection, unpaid: Any
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=9)
        await unpaid(await make.user(), 20)
        await unpaid(maria, 19)
        line = {"product_id": chai.id, "quantity": 1}
        last = await maria.api.post("/orders", json=line)
        assert last.status_code == 201
        await self.refused(sql, maria, line, 409, "too_many_unpaid")
        await maria.api.post(f"/orders/{last.json()['id']}/cancel")
        assert (await maria.api.post("/orders", json=line)).status_code == 201

    async def test_a_customer_who_was_deactivated_meanwhile(self, make: Make, container: Container) -> None:
        gone = await make.user(is_active=False)
        new = OrderCreate(product_id=(await make.item(stock=1)).id, quantity=1)
        with pytest.raises(Unprocessable, match="No customer has this id"):
            async with container.database.transaction() as session:
                await placing.place(session, container.settings, gone.caller, new)
