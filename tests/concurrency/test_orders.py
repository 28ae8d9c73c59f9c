"""Many at once: never sold twice, never deadlocked, never put back twice."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import httpx2
import pytest

from service.platform.config import Settings
from tests.helpers.application import app_of
from tests.helpers.client import Api
from tests.helpers.factories import Make, Person


@pytest.fixture
async def eight(settings: Settings) -> AsyncIterator[Api]:
    """Of an application with eight connections: so many meet often enough, and on a slow machine none waits
    for a lock longer than the service allows.
    """
    application = app_of(settings.model_copy(update={"database_pool_size": 8, "database_max_overflow": 0}))
    async with application.router.lifespan_context(application), Api.of(application) as client:
        yield client


async def order(person: Person, *item_ids: int, client: Api | None = None) -> httpx2.Response:
    lines = [{"product_id": item_id, "quantity": 1} for item_id in item_ids]
    headers = {"Authorization": f"Bearer {person.token}"}
    return await (client or person.api).post("/orders", json={"lines": lines}, headers=headers)


def outcomes(answers: Sequence[httpx2.Response]) -> Counter[Any]:
    return Counter((answer.status_code, answer.json().get("code")) for answer in answers)


async def ledger_is_stock(sql: asyncpg.Connection) -> bool:
    off: int = await sql.fetchval(
        "SELECT count(*) FROM stock LEFT JOIN (SELECT item_id, sum(delta) AS moved FROM stock_movements"
        " GROUP BY item_id) AS ledger USING (item_id) WHERE quantity <> coalesce(moved, 0)"
    )
    return off == 0


async def test_sixty_four_buyers_of_twenty(make: Make, sql: asyncpg.Connection, eight: Api) -> None:
    chai, buyers = await make.item(stock=20), [await make.user() for _ in range(64)]
    answers = await asyncio.gather(*(order(buyer, chai.id, client=eight) for buyer in buyers))
    assert outcomes(answers) == {(201, None): 20, (409, "out_of_stock"): 44}
    assert await sql.fetchval("SELECT quantity FROM stock") == 0
    assert await sql.fetchval("SELECT count(*) FROM orders") == 20
    assert await sql.fetchval("SELECT count(*) FROM notifications") == 20
    assert await ledger_is_stock(sql)


async def test_lines_in_any_order_meet_no_deadlock(
    make: Make, sql: asyncpg.Connection, settings: Settings
) -> None:
    """The server's processes report what they counted when they leave: hence an application of its own.

    Eight meet often enough, and on a slow machine no lock is waited for too long.
    """
    items, buyers = [await make.item(stock=200) for _ in range(5)], [await make.user() for _ in range(32)]
    pids = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend'"
    )
    counter = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    others, before = [row["pid"] for row in await sql.fetch(pids)], await sql.fetchval(counter)
    eight = settings.model_copy(update={"database_pool_size": 8, "database_max_overflow": 0})
    application, chance = app_of(eight), random.Random(4711)
    async with application.router.lifespan_context(application), Api.of(application) as client:
        baskets = [
            (buyer.token, [{"product_id": item.id, "quantity": 1} for item in chance.sample(items, 4)])
            for buyer in buyers
            for _ in range(3)
        ]
        answers = await asyncio.gather(
            *(
                client.post("/orders", json={"lines": lines}, headers={"Authorization": f"Bearer {token}"})
                for token, lines in baskets
            )
        )
    assert outcomes(answers) == {(201, None): 96}
    assert await sql.fetchval("SELECT sum(quantity) FROM stock") == 1000 - 4 * 96
    assert await ledger_is_stock(sql)
    while await sql.fetchval(f"SELECT count(*) FROM ({pids} AND pid <> ALL($1)) AS left_over", others):
        await sql.execute("SELECT pg_sleep(0.01)")
    assert await sql.fetchval(counter) == before


async def test_of_two_cancellations_one_wins(make: Make, sql: asyncpg.Connection) -> None:
    maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=2)
    for expected in range(1, 9):
        placed = (await order(maria, chai.id)).json()
        path = f"/orders/{placed['id']}/cancel"
        answers = await asyncio.gather(*(person.api.post(path) for person in (maria, admin)))
        assert outcomes(answers) == {(200, None): 1, (409, "invalid_transition"): 1}
        assert await sql.fetchval("SELECT count(*) FROM stock_movements WHERE kind = 'return'") == expected
    assert await sql.fetchval("SELECT quantity FROM stock") == 2
    assert await ledger_is_stock(sql)


async def test_cancelling_and_ordering_the_same_items_meet_no_deadlock(
    make: Make, sql: asyncpg.Connection
) -> None:
    items, buyers = [await make.item(stock=100) for _ in range(3)], [await make.user() for _ in range(8)]
    ids = [item.id for item in items]
    placed = [(await order(buyer, *ids)).json()["id"] for buyer in buyers]
    answers = await asyncio.gather(
        *(order(buyer, *reversed(ids)) for buyer in buyers),
        *(
            buyer.api.post(f"/orders/{order_id}/cancel")
            for buyer, order_id in zip(buyers, placed, strict=True)
        ),
    )
    assert outcomes(answers) == {(201, None): 8, (200, None): 8}
    assert await sql.fetchval("SELECT sum(quantity) FROM stock") == 300 - 3 * 8
    assert await ledger_is_stock(sql)


async def test_an_address_changes_before_or_after_a_cancellation_but_not_across(
    make: Make, sql: asyncpg.Connection
) -> None:
    maria, chai = await make.user(), await make.item(stock=1)
    placed = (await order(maria, chai.id)).json()
    home = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}
    moved, cancelled = await asyncio.gather(
        maria.api.put(f"/orders/{placed['id']}/ship-to", json=home),
        maria.api.post(f"/orders/{placed['id']}/cancel"),
    )
    assert cancelled.status_code == 200
    assert await sql.fetchval("SELECT ship_to IS NOT NULL FROM orders") == (moved.status_code == 200)


async def test_a_customer_has_at_most_twenty_unpaid_orders(
    make: Make, sql: asyncpg.Connection, eight: Api
) -> None:
    """Of different items, whose locks do not happen to queue the orders up."""
    maria, items = await make.user(), [await make.item(stock=1) for _ in range(32)]
    answers = await asyncio.gather(*(order(maria, item.id, client=eight) for item in items))
    assert outcomes(answers) == {(201, None): 20, (409, "too_many_unpaid"): 12}
    assert await sql.fetchval("SELECT sum(quantity) FROM stock") == 12
    assert await ledger_is_stock(sql)
