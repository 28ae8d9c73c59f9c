"""Orders for tests that look at what others do with them: written past the API, and as it would."""

from datetime import datetime
from typing import Any, Final

import asyncpg

from tests.helpers.factories import Person

HOME: Final = {"street": "Obere Str. 57", "city": "Berlin", "postal_code": "12209", "country": "DE"}
#: The states on the way to each, from `placed` on; `refund_due` is cancelled after it was paid.
WAYS: Final[dict[str, tuple[str, ...]]] = {
    "placed": (),
    "paid": ("paid",),
    "shipped": ("paid", "shipped"),
    "delivered": ("paid", "shipped", "delivered"),
    "cancelled": ("cancelled",),
    "refund_due": ("paid", "cancelled"),
    "refunded": ("paid", "cancelled", "refunded"),
}
_ADD = """
    WITH tea AS (
        INSERT INTO items (sku, name, price) VALUES (gen_random_uuid()::text, 'Chai', $2) RETURNING id
    ), added AS (
        INSERT INTO orders (user_id, customer_name, shipping, subtotal, discount, shipping_fee, total,
            currency, reference, placed_at)
        VALUES ($1, 'Maria', 'standard', $2, 0, 0, $2, 'USD', $3, coalesce($4, now())) RETURNING id
    ), lines AS (
        INSERT INTO order_lines (order_id, product_id, position, name, quantity, unit_price, line_total)
        SELECT added.id, tea.id, 1, 'Chai', 1, $2, $2 FROM added, tea
    )
    SELECT id FROM added
"""


async def placed(person: Person, item_id: int, quantity: int = 1, **fields: Any) -> dict[str, Any]:
    """By the API, as this person."""
    body = {"product_id": item_id, "quantity": quantity, **fields}
    answer = await person.api.post("/orders", json=body)
    assert answer.status_code == 201, answer.text
    order: dict[str, Any] = answer.json()
    return order


async def brought_to(sql: asyncpg.Connection, order: dict[str, Any], status: str) -> None:
    """A placed order by the shortest way, which leaves its version alone."""
    for state in WAYS[status]:
        await sql.execute(
            f"UPDATE orders SET refund_due = status = 'paid' AND $2 = 'cancelled', status = $2,"
            f" {state}_at = now() WHERE id = $1",
            order["id"],
            state,
        )


async def recorded(
    sql: asyncpg.Connection,
    person: Person,
    *,
    status: str = "placed",
    total: int = 10,
    reference: str | None = None,
    placed_at: datetime | None = None,
) -> int:
    """An order of one box of Chai, which has taken no stock."""
    order_id: int = await sql.fetchval(_ADD, person.id, total, reference, placed_at)
    await brought_to(sql, {"id": order_id}, status)
    return order_id
