"""An operation without an answer may have happened, or not, at any time until its effect is seen."""

from copy import deepcopy
from dataclasses import replace

import pytest

from proofs.history.rules import check
from tests.proofs.histories import ONE_LINE, TEA, good, shown, wanted


@pytest.mark.parametrize("happened", [True, False])
def test_of_an_order(happened: bool) -> None:
    book = good()
    book.call("order.place", None, key="order-13", sent=wanted(ONE_LINE), error="lost")
    if happened:
        sold = deepcopy(book.final.orders[1])
        sold.id, sold.reference = 13, "order-13"
        book.final.orders.append(sold)
        book.final.items[TEA].stock -= 2
        book.final.movements.append(replace(book.final.movements[8], id=98, order_id=13))
        book.deliver("order.placed", 13, 1, total="24.00")
    assert check(book.history, book.final) == []


def test_of_an_order_that_happened_twice() -> None:
    book = good()
    book.call("order.place", None, key="order-13", sent=wanted(ONE_LINE), error="lost")
    book.final.orders += [
        replace(book.final.orders[1], id=number, reference="order-13") for number in (13, 14)
    ]
    faults = check(book.history, book.final)
    assert any(fault.startswith("orders: 2 orders for one key: ids 13, 14") for fault in faults)


@pytest.mark.parametrize("price", ["12.00", "15.00"])
def test_of_a_price(price: str) -> None:
    book = good()
    sent = {"item": TEA, "price": "15.00", "if_version": None}
    book.call("item.price", None, sent=sent, error="lost")
    lines = [[TEA, 1, price, "0.00", price]]
    sums = {"subtotal": price, "discount": "0.00", "shipping_fee": "0.00", "total": price}
    body = shown(13, ["placed"], lines, sums)
    book.call("order.place", 201, key="order-13", sent=wanted(lines), body=body)
    assert [fault for fault in check(book.history, book.final) if fault.startswith("money")] == []


def test_of_a_revocation() -> None:
    """Nothing follows from it for what is used later."""
    book = good()
    book.call("session.end", None, sent={"revokes": ["a7"]}, error="lost")
    book.now += 2
    book.call("credential.use", credential="a7")
    book.call("credential.use", 401, credential="a7", code="invalid_token")
    assert check(book.history, book.final) == []


def test_of_a_refresh_whose_grace_is_over() -> None:
    book = good()
    book.call("session.refresh", None, sent={"token": "r20"}, error="lost")
    book.now += 21
    book.call("session.refresh", 400, sent={"token": "r20"}, code="invalid_grant")
    assert check(book.history, book.final) == []
