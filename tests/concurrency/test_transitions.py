"""Two transitions of one order at once: one wins, the other is refused, and nothing is done twice."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg
import pytest

from service.orders import repository as orders
from tests.helpers.factories import Make, Person
from tests.helpers.orders import HOME, brought_to, placed
from tests.helpers.waiting import until_blocked

BODIES: dict[str, dict[str, str] | None] = {
    "pay": {"reference": "pi_3MtwBw"},
    "ship": {"tracking": "00340434161094042557"},
    "deliver": None,
    "cancel": None,
    "refund": {"reference": "re_1Nispe"},
}
PAST = {"pay": "paid", "ship": "shipped", "deliver": "delivered", "cancel": "cancelled", "refund": "refunded"}
TRIES = 20


async def at_once(people: tuple[Person, Person], order_id: int, *names: str) -> list[tuple[int, Any, str]]:
    """The status, the code and the state that each of the transitions was answered with."""
    answers = await asyncio.gather(
        *(
            person.api.post(f"/orders/{order_id}/{name}", json=BODIES[name])
            for person, name in zip(people, names, strict=True)
        )
    )
    return [
        (answer.status_code, answer.json().get("code"), answer.json().get("status")) for answer in answers
    ]


async def events(sql: asyncpg.Connection, order_id: int) -> list[str]:
    rows = await sql.fetch(
        "SELECT event ->> 'status' AS status FROM orders, jsonb_array_elements(events) AS event"
        " WHERE id = $1",
        order_id,
    )
    return [row["status"] for row in rows]


@pytest.mark.parametrize(
    ("start", "first", "second"),
    [
        ("paid", "ship", "cancel"),
        ("placed", "cancel", "cancel"),
        ("placed", "pay", "pay"),
        ("paid", "ship", "ship"),
        ("shipped", "deliver", "deliver"),
        ("refund_due", "refund", "refund"),
    ],
)
async def test_of_two_one_wins(
    make: Make, sql: asyncpg.Connection, start: str, first: str, second: str
) -> None:
    people = await make.admin(), await make.admin()
    maria, chai = await make.user(), await make.item(stock=2)
    for _ in range(TRIES):
        order = await placed(maria, chai.id, 2, ship_to=HOME)
        await brought_to(sql, order, start)
        before, told = (
            await events(sql, order["id"]),
            await sql.fetchval("SELECT count(*) FROM notifications"),
        )
        outcomes = await at_once(people, order["id"], first, second)
        won = [name for name, (status, *_) in zip((first, second), outcomes, strict=True) if status == 200]
        assert Counter(outcomes) == {(200, None, PAST[won[0]]): 1, (409, "invalid_transition", 409): 1}
        assert await events(sql, order["id"]) == [*before, PAST[won[0]]]
        assert await sql.fetchval("SELECT count(*) FROM notifications") == told + 1
        returned = await sql.fetch(
            "SELECT delta FROM stock_movements WHERE kind = 'return' AND order_id = $1", order["id"]
        )
        assert [row["delta"] for row in returned] == ([2] if won == ["cancel"] else [])
        assert await sql.fetchval("SELECT quantity FROM stock") == (2 if won == ["cancel"] else 0)
        await sql.execute("UPDATE stock SET quantity = 2")


async def test_paying_and_cancelling_end_as_if_one_came_first(make: Make, sql: asyncpg.Connection) -> None:
    """Either it was cancelled, and cannot be paid; or it was paid, and what was paid is owed."""
    people = await make.admin(), await make.admin()
    maria, chai = await make.user(), await make.item(stock=2)
    for _ in range(TRIES):
        order = await placed(maria, chai.id, 2)
        paid, cancelled = await at_once(people, order["id"], "pay", "cancel")
        assert cancelled == (200, None, "cancelled")
        assert paid in ((200, None, "paid"), (409, "invalid_transition", 409))
        row = await sql.fetchrow("SELECT status, refund_due FROM orders WHERE id = $1", order["id"])
        assert row is not None
        assert tuple(row) == ("cancelled", paid[0] == 200)
        way = ["placed", "paid", "cancelled"] if paid[0] == 200 else ["placed", "cancelled"]
        assert await events(sql, order["id"]) == way
        assert await sql.fetchval("SELECT quantity FROM stock") == 2
        assert (
            await sql.fetchval("SELECT count(*) FROM stock_movements WHERE order_id = $1", order["id"]) == 2
        )


async def test_the_one_that_waited_is_not_stamped_before_the_one_it_waited_for(
    make: Make, sql: asyncpg.Connection, database_url: str
) -> None:
    """Its transaction, whose time now() is, began first."""
    admin, maria, chai = await make.admin(), await make.user(), await make.item(stock=2)
    order = await placed(maria, chai.id)
    other = await asyncpg.connect(database_url)
    try:
        holding = other.transaction()
        await holding.start()
        await other.execute("SELECT 1 FROM orders WHERE id = $1 FOR UPDATE", order["id"])
        cancelling = asyncio.create_task(admin.api.post(f"/orders/{order['id']}/cancel"))
        await until_blocked(sql)
        await other.execute(
            "UPDATE orders SET status = 'paid', paid_at = clock_timestamp() WHERE id = $1", order["id"]
        )
        await holding.commit()
        cancelled = (await cancelling).json()
    finally:
        await other.close()
    assert cancelled["refund_due"] is True
    assert cancelled["cancelled_at"] == cancelled["paid_at"]
    assert [event["status"] for event in cancelled["events"]] == ["placed", "paid", "cancelled"]


async def test_an_order_ships_with_the_address_it_has_or_not_at_all(
    make: Make, sql: asyncpg.Connection
) -> None:
    people = await make.admin(), await make.admin()
    maria, chai = await make.user(), await make.item(stock=TRIES)
    for _ in range(TRIES):
        order = await placed(maria, chai.id)
        await brought_to(sql, order, "paid")
        shipped, redirected = await asyncio.gather(
            people[0].api.post(f"/orders/{order['id']}/ship", json=BODIES["ship"]),
            maria.api.put(f"/orders/{order['id']}/ship-to", json=HOME),
        )
        assert redirected.status_code == 200
        if shipped.status_code == 200:
            assert shipped.json()["ship_to"]["city"] == "Berlin"
        else:
            assert (shipped.status_code, shipped.json()["code"]) == (409, "address_required")
            assert await sql.fetchval("SELECT status FROM orders WHERE id = $1", order["id"]) == "paid"


async def test_what_became_possible_while_it_was_refused_is_done(
    make: Make, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It found the order unpaid; by the time it looks why, nothing speaks against it any more."""
    admin, maria, chai = await make.admin(), await make.user(), await make.item(stock=2)
    order, read = await placed(maria, chai.id, ship_to=HOME), orders.get

    async def paid_just_before(*given: Any, **named: Any) -> Any:
        monkeypatch.undo()
        await brought_to(sql, order, "paid")
        return await read(*given, **named)

    monkeypatch.setattr(orders, "get", paid_just_before)
    answer = await admin.api.post(f"/orders/{order['id']}/ship", json=BODIES["ship"])
    assert (answer.status_code, answer.json()["status"]) == (200, "shipped")
    assert await events(sql, order["id"]) == ["placed", "paid", "shipped"]
