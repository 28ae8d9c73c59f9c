"""Of several that are given one external id at once, one gets it, and the others are told which."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make
from tests.helpers.orders import placed

SENT = 8


def judge(answers: list[Any], created: int) -> int:
    """The id of what has it, which all refusals name."""
    [won] = [answer.json()["id"] for answer in answers if answer.status_code == created]
    refused = [answer for answer in answers if answer.status_code != created]
    assert len(refused) == SENT - 1
    for answer in refused:
        assert assert_problem(answer, 409, "external_id_taken", "/external_id")["id"] == won
    return int(won)


async def test_orders_that_are_placed(make: Make, sql: asyncpg.Connection) -> None:
    """Of several customers and items, so that no other lock makes them wait for each other."""
    admin = await make.admin()
    customers, teas = (
        [await make.user() for _ in range(SENT)],
        [await make.item(stock=5) for _ in range(SENT)],
    )

    async def place(number: int) -> Any:
        body = {
            "product_id": teas[number].id, "quantity": 1, "user_id": customers[number].id,
            "external_id": "SO-1",
        }  # fmt: skip
        return await admin.api.post("/orders", json=body)

    won = judge(await asyncio.gather(*map(place, range(SENT))), 201)
    assert [row["id"] for row in await sql.fetch("SELECT id FROM orders")] == [won]
    left = Counter(row["quantity"] for row in await sql.fetch("SELECT quantity FROM stock"))
    assert left == {5: SENT - 1, 4: 1}
    assert await sql.fetchval("SELECT count(*) FROM events") == 1


async def test_orders_that_are_changed(make: Make, sql: asyncpg.Connection) -> None:
    admin, tea = await make.admin(), await make.item(stock=SENT)
    orders = [await placed(await make.user(), tea.id) for _ in range(SENT)]

    async def change(order: dict[str, Any]) -> Any:
        return await admin.api.patch(f"/orders/{order['id']}", json={"external_id": "SO-1"})

    won = judge(await asyncio.gather(*map(change, orders)), 200)
    rows = await sql.fetch("SELECT id, external_id, version FROM orders WHERE version > 1")
    assert [tuple(row) for row in rows] == [(won, "SO-1", 2)]


async def test_items_and_users(make: Make, api: Api, sql: asyncpg.Connection) -> None:
    admin = await make.admin()
    tea = {"name": "Chai", "price": "18.00", "external_id": "X-1"}
    judge(await asyncio.gather(*(admin.api.post("/items", json=tea) for _ in range(SENT))), 201)
    assert await sql.fetchval("SELECT count(*) FROM items") == 1

    async def register(number: int) -> Any:
        body = {
            "email": f"maria{number}@shop.example", "password": "Northwind1", "full_name": "Maria",
            "external_id": "X-1",
        }  # fmt: skip
        return await admin.api.post("/users", json=body)

    won = judge(await asyncio.gather(*map(register, range(SENT))), 201)
    assert await sql.fetchval("SELECT id FROM users WHERE external_id = 'X-1'") == won
