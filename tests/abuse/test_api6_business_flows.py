"""API6:2023 Unrestricted Access to Sensitive Business Flows: buying, cancelling and refunding by script.

How much one customer may hold back, cancel and register is in tests/orders/test_order_limits.py and
tests/platform/http/test_rate_limits.py.
"""

from decimal import Decimal
from typing import Any, Final

import asyncpg
import pytest

from tests.abuse.walking import stored
from tests.contract.routes import HOME, a_paid_order
from tests.helpers.client import assert_problem
from tests.helpers.factories import Make

#: What a customer tries in order to pay less, and the answer.
CHEAPER: Final[tuple[tuple[dict[str, Any], int, str], ...]] = (
    ({"unit_price": "0.01"}, 409, "price_changed"),
    ({"unit_price": "0.00"}, 422, "invalid_input"),
    ({"unit_price": "-18.00"}, 422, "invalid_input"),
    ({"discount_pct": "100.00"}, 403, "forbidden"),
    ({"discount_pct": "0.01"}, 403, "forbidden"),
    ({"quantity": 0}, 422, "invalid_input"),
    ({"quantity": -1}, 422, "invalid_input"),
    ({"quantity": 0.5}, 422, "invalid_input"),
    ({"quantity": "1e-9"}, 422, "invalid_input"),
    ({"total": "0.01"}, 422, "invalid_input"),
    ({"shipping_fee": "-5.00"}, 422, "invalid_input"),
    ({"currency": "JPY"}, 422, "invalid_input"),
    ({"user_id": 1}, 403, "forbidden"),
    ({"status": "paid"}, 422, "invalid_input"),
)


@pytest.mark.parametrize("attempt", CHEAPER, ids=lambda attempt: str(attempt[0]))
async def test_no_customer_decides_what_an_order_costs(
    make: Make, sql: asyncpg.Connection, tables: list[str], attempt: tuple[dict[str, Any], int, str]
) -> None:
    change, status, code = attempt
    maria, tea = await make.user(), await make.item(stock=10)
    before = await stored(sql, tables)
    one = {"product_id": tea.id, "quantity": 1}
    answer = await maria.api.post("/orders", json={**one, **change})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    if change.keys() <= {"unit_price", "discount_pct", "quantity"}:
        good = await make.item(stock=10)
        before = await stored(sql, tables)
        lines = [{"product_id": good.id, "quantity": 1}, {**one, **change}]
        answer = await maria.api.post("/orders", json={"lines": lines})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await stored(sql, tables) == before


async def test_splitting_an_order_makes_it_no_cheaper(make: Make) -> None:
    maria, tea = await make.user(), await make.item(price="0.07", stock=100)
    single = [
        Decimal((await maria.api.post("/orders", json={"product_id": tea.id, "quantity": 1})).json()["total"])
        for _ in range(5)
    ]
    together = await maria.api.post("/orders", json={"product_id": tea.id, "quantity": 5})
    assert sum(single) == Decimal(together.json()["total"]) == Decimal("0.35")


async def test_no_money_comes_back_twice_and_none_that_was_not_paid(
    make: Make, sql: asyncpg.Connection, tables: list[str]
) -> None:
    maria, ada = await make.user(), await make.admin()
    order = await a_paid_order(make, maria)
    refund = {"reference": "re_1"}
    assert_problem(await ada.api.post(f"/orders/{order}/refund", json=refund), 409, "invalid_transition")
    assert (await maria.api.post(f"/orders/{order}/cancel")).status_code == 200
    # Not to the customer, who asks for it; and to staff once.
    assert_problem(await maria.api.post(f"/orders/{order}/refund", json=refund), 403, "forbidden")
    assert (await ada.api.post(f"/orders/{order}/refund", json=refund)).status_code == 200
    before = await stored(sql, tables)
    for path in ("refund", "cancel", "pay", "ship", "deliver"):
        body = {"ship": {"tracking": "1"}, "pay": {"reference": "pi_2"}, "refund": {"reference": "re_2"}}
        answer = await ada.api.post(f"/orders/{order}/{path}", json=body.get(path, {}))
        assert (path, assert_problem(answer, 409, "invalid_transition")["code"]) == (
            path,
            "invalid_transition",
        )
    unpaid = await maria.api.get("/orders?limit=1")
    assert unpaid.json()[0]["status"] == "refunded"
    assert await stored(sql, tables) == before


async def test_what_is_shipped_is_neither_cancelled_nor_sent_elsewhere(make: Make) -> None:
    """Goods on their way are not had back together with the money, nor led to another address."""
    maria, ada = await make.user(), await make.admin()
    order = await a_paid_order(make, maria)
    assert (await ada.api.post(f"/orders/{order}/ship", json={"tracking": "1"})).status_code == 200
    assert_problem(await maria.api.post(f"/orders/{order}/cancel"), 409, "invalid_transition")
    elsewhere = {**HOME, "street": "Hafen 1"}
    answer = await maria.api.put(f"/orders/{order}/ship-to", json=elsewhere)
    assert answer.status_code == 409
    assert (await maria.api.get(f"/orders/{order}")).json()["ship_to"]["street"] == HOME["street"]


async def test_a_price_that_was_seen_is_what_is_paid_or_the_order_is_refused(make: Make) -> None:
    """A customer who waits with an order for a price that has risen gets the new one or none."""
    maria, ada, tea = await make.user(), await make.admin(), await make.item(price="18.00", stock=10)
    seen = {"product_id": tea.id, "quantity": 1, "unit_price": "18.00"}
    assert (await maria.api.post("/orders", json=seen)).json()["total"] == "18.00"
    assert (await ada.api.patch(f"/items/{tea.id}", json={"price": "20.00"})).status_code == 200
    assert_problem(await maria.api.post("/orders", json=seen), 409, "price_changed")
    plain = {"product_id": tea.id, "quantity": 1}
    assert (await maria.api.post("/orders", json=plain)).json()["total"] == "20.00"
