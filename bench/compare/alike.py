"""Before anything is measured: all do the same job, with the same data, and refuse who is not signed in."""

import json
from typing import Any

import shop
from load import Load, Unexpected, request
from rows import ROWS, Side

ITEM = {
    "id", "sku", "name", "description", "category", "price", "is_active", "version", "created_at",
    "updated_at",
}  # fmt: skip
USER = {"id", "email", "full_name", "is_active", "is_admin", "email_verified", "created_at"}
ORDER = {"id", "user_id", "status", "total", "lines"}
LINE = {"product_id", "name", "quantity", "unit_price"}


def check(side: Side, load: Load, ours: shop.Tradepost) -> None:
    """Raise Unexpected where an answer lacks what the others have."""
    item, listed, found, profile, orders, placed = (
        _answer(side, load, key) for key in ("item", "list", "search", "profile", "own_orders", "order")
    )
    _has(item, ITEM, "the item")
    _same(item["price"], shop.PRICE, "the price")
    _same(len(listed), 20, "items of a list")
    _has(listed[0], ITEM, "an item of the list")
    _same(len(found) > 0, True, "something is found")
    _has(found[0], ITEM, "an item that is found")
    _has(profile, USER, "the profile")
    _same(len(orders), shop.ORDERS_EACH, "orders of a customer")
    for order in (orders[0], placed):
        _has(order, ORDER, "an order")
        _same(order["total"], "25.00", "the total of an order")
        _same(len(order["lines"]), 2, "lines of an order")
        _has(order["lines"][0], LINE, "a line")
    if side.ours:
        ours.settle([json.dumps(placed).encode()])
    _refuses(side, load)


def _answer(side: Side, load: Load, key: str) -> Any:
    row = next(row for row in ROWS if row.key == key)
    return json.loads(load.saturate([row.make(side, 1)], row.expected(side), once=True).bodies[0])


def _refuses(side: Side, load: Load) -> None:
    head, payload, signature = side.tokens[0].split(".")
    forged = f"{head}.{payload}.{signature[::-1]}"
    for path in (f"{side.base}/orders?limit=20", f"{shop.V1}/users/profile" if side.ours else "/profile"):
        load.saturate([request("GET", path)], b"401", once=True)
        load.saturate([request("GET", path, Authorization=f"Bearer {forged}")], b"401", once=True)


def _has(answer: dict[str, Any], fields: set[str], name: str) -> None:
    if missing := fields - answer.keys():
        raise Unexpected(f"{name} lacks {sorted(missing)}")


def _same(value: object, expected: object, name: str) -> None:
    if value != expected:
        raise Unexpected(f"{name}: {value!r}, not {expected!r}")
