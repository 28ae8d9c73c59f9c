"""What is left in the end: the rows of the database, by plain SQL, and what the receiver got."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import asyncpg

from proofs.load import Load
from proofs.load.receiver import Delivery

ORDERS: Final = """
    SELECT orders.id, user_id, reference, status, shipping, version, refund_due, subtotal, discount,
        shipping_fee, total, events,
        (SELECT json_agg(json_build_array(product_id, quantity, unit_price::text, discount_pct::text,
            line_total::text) ORDER BY position) FROM order_lines WHERE order_id = orders.id) AS lines
    FROM orders WHERE reference LIKE $1 ORDER BY orders.id
"""
ITEMS: Final = """
    SELECT items.id, version, price, availability, is_active, quantity
    FROM items JOIN stock ON stock.item_id = items.id
"""
MOVEMENTS: Final = "SELECT id, item_id, order_id, kind, delta, reason FROM stock_movements ORDER BY id"
POSTS: Final = "SELECT id, version, status FROM posts"


@dataclass
class Order:
    id: int
    user_id: int
    reference: str
    status: str
    shipping: str
    version: int
    refund_due: bool
    amounts: dict[str, str]
    lines: list[list[Any]]
    timeline: list[str]
    #: When each state was reached, in seconds of the database's clock.
    moments: dict[str, float] = field(default_factory=dict)


@dataclass
class Item:
    id: int
    version: int
    price: str
    availability: str
    on_sale: bool
    stock: int


@dataclass
class Movement:
    id: int
    item_id: int
    order_id: int | None
    kind: str
    delta: int
    reason: str


@dataclass
class FinalState:
    """`start_stock` and `start_prices` are of the items that the load made, and no other client changes."""

    orders: list[Order] = field(default_factory=list)
    items: dict[int, Item] = field(default_factory=dict)
    movements: list[Movement] = field(default_factory=list)
    #: Versions of published posts.
    posts: dict[int, int] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)
    start_stock: dict[int, int] = field(default_factory=dict)
    start_prices: dict[int, str] = field(default_factory=dict)


async def final_state(load: Load, database_url: str | None = None) -> FinalState:
    """When the load has ended. Another URL names a database that was restored from a backup, for instance."""
    connection = await asyncpg.connect(database_url or load.database_url)
    try:
        orders = await connection.fetch(ORDERS, f"{load.name}-%")
        items = await connection.fetch(ITEMS)
        movements = await connection.fetch(MOVEMENTS)
        posts = await connection.fetch(POSTS)
    finally:
        await connection.close()
    return FinalState(
        orders=[_order(row) for row in orders],
        items={row["id"]: _item(row) for row in items},
        movements=[Movement(*row) for row in movements],
        posts={row["id"]: row["version"] for row in posts if row["status"] == "published"},
        deliveries=[*load.receiver.deliveries],
        start_stock=dict(load.start_stock),
        start_prices=dict(load.start_prices),
    )


def _order(row: asyncpg.Record) -> Order:
    amounts = ("subtotal", "discount", "shipping_fee", "total")
    events = json.loads(row["events"])
    lines: Sequence[list[Any]] = json.loads(row["lines"] or "[]")
    return Order(
        id=row["id"],
        user_id=row["user_id"],
        reference=row["reference"],
        status=row["status"],
        shipping=row["shipping"],
        version=row["version"],
        refund_due=row["refund_due"],
        amounts={name: str(row[name]) for name in amounts},
        lines=[*lines],
        timeline=[event["status"] for event in events],
        moments={event["status"]: datetime.fromisoformat(event["at"]).timestamp() for event in events},
    )


def _item(row: asyncpg.Record) -> Item:
    price: Decimal = row["price"]
    return Item(row["id"], row["version"], str(price), row["availability"], row["is_active"], row["quantity"])
