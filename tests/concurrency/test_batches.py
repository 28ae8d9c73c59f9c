"""Uploads beside each other, beside single changes and beside orders: none deadlocks, and nothing is lost."""

import asyncio
from typing import Any

import asyncpg
import httpx2

from tests.concurrency.test_stock import stock_and_ledger
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make
from tests.helpers.waiting import until_blocked


def rows(count: int, **values: Any) -> list[dict[str, Any]]:
    return [{"sku": f"NW-{number}", **values} for number in range(count)]


async def versions(sql: asyncpg.Connection) -> list[tuple[str, int]]:
    found = await sql.fetch("SELECT price::text, version FROM items GROUP BY 1, 2 ORDER BY 1, 2")
    return [tuple(row) for row in found]


class TestItems:
    async def test_uploads_of_the_same_new_items_in_different_order(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin = await make.admin()
        batch = rows(200, name="Chai", price="18.00")
        orders = (batch, batch[::-1], batch[100:] + batch[:100], batch[::-1])
        answers = await asyncio.gather(*(admin.api.put("/items/batch", json=each) for each in orders))
        assert [answer.status_code for answer in answers] == [200] * 4
        results = [each["result"] for answer in answers for each in answer.json()]
        assert (results.count("created"), results.count("unchanged")) == (200, 600)
        assert await versions(sql) == [("18.00", 1)]
        assert await sql.fetchval("SELECT count(*) FROM events") == 200

    async def test_uploads_of_overlapping_items_with_different_prices(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        """The last of them is whole: each holds its items until it has committed."""
        admin = await make.admin()
        await admin.api.put("/items/batch", json=rows(150, name="Chai", price="18.00"))
        uploads = [rows(150, price=f"{number}.00")[:: 1 if number % 2 else -1] for number in range(1, 9)]
        answers = await asyncio.gather(*(admin.api.put("/items/batch", json=each) for each in uploads))
        assert [answer.status_code for answer in answers] == [200] * 8
        ((price, version),) = await versions(sql)
        assert version == 9
        last = [answer for answer in answers if {each["version"] for each in answer.json()} == {9}]
        assert [answers.index(answer) + 1 for answer in last] == [int(float(price))]

    async def test_an_item_that_another_request_has_just_created(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        """The upload has found no such item, and waits for the other's insert. It is run again, and changes
        the item.
        """
        admin = await make.admin()
        async with sql.transaction():
            await sql.execute(
                "WITH made AS (INSERT INTO items (sku, name, price) VALUES ('NW-1', 'Chai', 17) RETURNING id)"
                " INSERT INTO stock (item_id) SELECT id FROM made"
            )
            uploading = asyncio.create_task(
                admin.api.put("/items/batch", json=rows(3, name="Chai", price="18.00"))
            )
            await until_blocked(sql)
        answer = await uploading
        assert [each["result"] for each in answer.json()] == ["created", "changed", "created"]
        assert await versions(sql) == [("18.00", 1), ("18.00", 2)]

    async def test_beside_single_changes_none_is_lost(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        made = [await make.item(sku=f"NW-{number}") for number in range(8)]
        uploads = [
            admin.api.put("/items/batch", json=rows(8, category=f"Tea {number}")[:: 1 if number % 2 else -1])
            for number in range(4)
        ]
        patches = [admin.api.patch(f"/items/{item.id}", json={"price": "1.00"}) for item in made]
        answers = await asyncio.gather(*uploads, *patches)
        assert {answer.status_code for answer in answers} == {200}
        found = await sql.fetch("SELECT DISTINCT price::text, version FROM items")
        assert [tuple(row) for row in found] == [("1.00", 6)]

    async def test_a_version_that_another_change_takes_away_meanwhile(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin, chai = await make.admin(), await make.item(sku="NW-0")
        async with sql.transaction():
            await sql.execute("UPDATE items SET version = 2, name = 'Chai latte' WHERE id = $1", chai.id)
            uploading = asyncio.create_task(
                admin.api.put("/items/batch", json=rows(1, name="Chai tea", version=1))
            )
            await until_blocked(sql)
        problem = assert_problem(await uploading, 409, "version_conflict", "/0/version")
        assert problem["conflicts"] == [{"row": 0, "item_id": chai.id, "version": 2}]
        assert await sql.fetchval("SELECT name FROM items") == "Chai latte"


class TestBesideOrders:
    async def test_no_unit_is_sold_twice_and_the_ledger_adds_up(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin, buyers = await make.admin(), [await make.user() for _ in range(4)]
        made = [await make.item(sku=f"NW-{number}", stock=40) for number in range(6)]
        lines = [{"product_id": item.id, "quantity": 1} for item in made]

        async def place(buyer: Api, number: int) -> httpx2.Response:
            return await buyer.post("/orders", json={"lines": lines[:: 1 if number % 2 else -1]})

        calls = [place(buyers[number % 4].api, number) for number in range(12)]
        calls += [
            admin.api.put(
                "/stock/batch",
                json=rows(6, delta=5)[:: 1 if number % 2 else -1],
                headers={"Idempotency-Key": f"delivery-{number}"},
            )
            for number in range(6)
        ]
        calls += [admin.api.put("/items/batch", json=rows(6, category=f"Tea {n}")[::-1]) for n in range(4)]
        answers = await asyncio.gather(*calls)
        assert sorted(answer.status_code for answer in answers) == [200] * 10 + [201] * 12
        for item in made:
            assert await stock_and_ledger(sql, item.id) == (58, 58)

    async def test_a_count_is_of_what_is_left_when_it_is_stored(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        """An order that has its lock first is in the ledger before the count, and not lost."""
        admin, maria = await make.admin(), await make.user()
        chai = await make.item(sku="NW-0", stock=10)
        answers = await asyncio.gather(
            *(maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1}) for _ in range(5)),
            admin.api.put("/stock/batch", json=rows(1, stock=20)),
            *(maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1}) for _ in range(5)),
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [201] * 10
        quantity, total = await stock_and_ledger(sql, chai.id)
        assert quantity == total
        assert quantity in range(10, 21)
