"""Orders from before this installation."""

from typing import Any

import asyncpg
import pytest

from service import catalogue
from service.container.api import Container
from service.errors import Unprocessable
from service.orders import past_orders, repository
from service.platform.http.schemas import MAX_ID
from tests.helpers.factories import Make, Person

REIMS = {"name": "Vins et alcools", "street": "59 rue de l'Abbaye", "city": "Reims", "country": "FR"}

#: What a paid one has else than a delivered one.
PAID = {"status": "paid", "shipped_at": None, "delivered_at": None}


def past(person: Person, *lines: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "user_id": person.id,
        "lines": list(lines),
        "shipping": "express",
        "shipping_fee": "32.38",
        "ship_to": REIMS,
        "reference": "NW-10248",
        "status": "delivered",
        "placed_at": "1996-07-04",
        "paid_at": "1996-07-04T00:00:00Z",
        "shipped_at": "1996-07-16T02:00:00+02:00",
        "delivered_at": "1996-07-16",
        **fields,
    }


def line(item_id: int, **fields: Any) -> dict[str, Any]:
    return {"product_id": item_id, "quantity": 12, "unit_price": "14.00", "discount_pct": "5.00", **fields}


async def record(container: Container, order: dict[str, Any]) -> int:
    async with container.database.transaction() as session:
        ids = [each["product_id"] for each in order.get("lines", ())]
        products = await catalogue.get_products(session, ids)
        return await past_orders.record_past_order(session, order, products=products, currency="USD")


async def refused(container: Container, order: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(Unprocessable) as refusal:
        await record(container, order)
    return [(fault.pointer, fault.code) for fault in refusal.value.errors]


class TestRecord:
    async def test_keeps_prices_freight_address_and_dates(self, make: Make, container: Container) -> None:
        maria = await make.user(is_active=False)
        admin, queso = await make.admin(), await make.item(name="Queso", price="21.00", is_active=False)
        cabrales = await make.item(name="Cabrales")
        order_id = await record(
            container,
            past(maria, line(queso.id), line(cabrales.id, quantity=1, unit_price=9.8, discount_pct=0)),
        )
        order = (await admin.api.get(f"/orders/{order_id}")).json()
        assert [(each["name"], each["unit_price"], each["line_total"]) for each in order["lines"]] == [
            ("Queso", "14.00", "159.60"),
            ("Cabrales", "9.80", "9.80"),
        ]
        assert (order["subtotal"], order["discount"], order["shipping_fee"], order["total"]) == (
            "177.80",
            "8.40",
            "32.38",
            "201.78",
        )
        assert order["ship_to"] == {**REIMS, "region": None, "postal_code": None}
        assert (order["status"], order["reference"], order["customer_name"]) == (
            "delivered",
            "NW-10248",
            "Maria Anders",
        )
        assert order["events"] == [
            {"status": state, "at": order[f"{state}_at"], "by": "import"}
            for state in ("placed", "paid", "shipped", "delivered")
        ]
        assert [order[f"{state}_at"] for state in ("placed", "paid", "shipped", "delivered")] == [
            "1996-07-04T00:00:00Z",
            "1996-07-04T00:00:00Z",
            "1996-07-16T00:00:00Z",
            "1996-07-16T00:00:00Z",
        ]

    async def test_changes_no_stock_and_notifies_no_user(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=39, reorder_level=38)
        order_id = await record(container, past(maria, line(chai.id), **PAID))
        assert await sql.fetchval("SELECT quantity FROM stock") == 39
        assert await sql.fetchval("SELECT count(*) FROM notifications") == 0
        cancelled = (await maria.api.post(f"/orders/{order_id}/cancel")).json()
        assert (cancelled["status"], cancelled["refund_due"]) == ("cancelled", True)
        assert await sql.fetchval("SELECT quantity FROM stock") == 39

    async def test_copies_no_address_of_today(self, make: Make, container: Container) -> None:
        maria, chai = await make.user(address=REIMS), await make.item()
        order_id = await record(container, past(maria, line(chai.id), ship_to=None))
        assert (await maria.api.get(f"/orders/{order_id}")).json()["ship_to"] is None

    async def test_is_not_bound_by_unpaid_orders(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=20)
        for _ in range(20):
            await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
        await record(container, past(maria, line(chai.id)))
        assert await sql.fetchval("SELECT count(*) FROM orders") == 21

    async def test_references_identify_what_was_recorded(self, make: Make, container: Container) -> None:
        maria, other, chai = await make.user(), await make.user(), await make.item()
        for person, reference in ((maria, "NW-1"), (other, "NW-1"), (maria, "NW-2"), (maria, None)):
            await record(container, past(person, line(chai.id), reference=reference))
        async with container.database.reading() as session:
            known = await repository.get_references(session, ["NW-1", "NW-3"])
        assert known == {(maria.id, "NW-1"), (other.id, "NW-1")}

    async def test_every_fault_is_named(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        maria, chai = await make.user(), await make.item()
        bad = line(chai.id, quantity=0, unit_price="1.005")
        assert await refused(container, past(maria, bad, shipping_fee="-1", placed_at="long ago")) == [
            ("/lines/0/quantity", "too_small"),
            ("/lines/0/unit_price", "too_many_decimals"),
            ("/shipping_fee", "too_small"),
            ("/placed_at", "wrong_format"),
        ]
        assert await refused(container, past(maria)) == [("/lines", "too_short")]
        unpriced = line(chai.id, unit_price=None)
        assert await refused(container, past(maria, unpriced)) == [("/lines/0/unit_price", "missing")]
        assert await refused(container, past(maria, line(MAX_ID))) == [
            ("/lines/0/product_id", "unknown_product")
        ]
        assert await refused(container, past(maria, line(chai.id), user_id=MAX_ID)) == [
            ("/user_id", "unknown_user")
        ]
        little = line(chai.id, quantity=1)
        assert await refused(container, past(maria, little, shipping="overnight")) == [
            ("/shipping", "overnight_minimum")
        ]
        undated = {"paid_at": None, "shipped_at": None}
        assert await refused(container, past(maria, line(chai.id), **undated)) == [
            ("/paid_at", "missing"),
            ("/shipped_at", "missing"),
        ]
        assert await refused(container, past(maria, line(chai.id), status="paid")) == [
            ("/shipped_at", "contradiction"),
            ("/delivered_at", "contradiction"),
        ]
        twice = line(chai.id), line(chai.id, unit_price="14.01")
        assert await refused(container, past(maria, *twice)) == [("/lines/1/unit_price", "contradiction")]
        assert await sql.fetchval("SELECT count(*) FROM orders") == 0
