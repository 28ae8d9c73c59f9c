import asyncio

import asyncpg

from tests.helpers.client import assert_problem
from tests.helpers.factories import Make


async def stock_and_ledger(sql: asyncpg.Connection, item_id: int) -> tuple[int, int]:
    quantity = await sql.fetchval("SELECT quantity FROM stock WHERE item_id = $1", item_id)
    return quantity, await sql.fetchval("SELECT sum(delta) FROM stock_movements WHERE item_id = $1", item_id)


class TestConcurrentAdjustments:
    async def test_none_is_lost(self, make: Make, sql: asyncpg.Connection) -> None:
        item, admin = await make.item(stock=100), await make.admin()
        deltas = [3, -2] * 20
        answers = await asyncio.gather(
            *(
                admin.api.post(f"/items/{item.id}/stock", json={"delta": delta, "reason": "Count"})
                for delta in deltas
            )
        )
        assert {answer.status_code for answer in answers} == {200}
        assert await stock_and_ledger(sql, item.id) == (120, 120)

    async def test_stock_never_falls_below_none(self, make: Make, sql: asyncpg.Connection) -> None:
        item, admin = await make.item(stock=7), await make.admin()
        answers = await asyncio.gather(
            *(
                admin.api.post(f"/items/{item.id}/stock", json={"delta": -2, "reason": "Count"})
                for _ in range(20)
            )
        )
        refused = [answer for answer in answers if answer.status_code != 200]
        assert len(refused) == 17
        for answer in refused:
            assert assert_problem(answer, 409, "out_of_stock", "/delta")["available"] == 1
        assert await stock_and_ledger(sql, item.id) == (1, 1)

    async def test_the_availability_shown_is_that_of_the_last_change(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        """A change of the item's reorder level waits for the stock it is compared with."""
        item, admin = await make.item(stock=20, reorder_level=0), await make.admin()
        stock = [
            admin.api.post(f"/items/{item.id}/stock", json={"delta": -1, "reason": "Count"})
            for _ in range(10)
        ]
        levels = [admin.api.patch(f"/items/{item.id}", json={"reorder_level": n}) for n in (15, 5, 12, 9)]
        answers = await asyncio.gather(*(call for pair in zip(stock, levels, strict=False) for call in pair))
        assert {answer.status_code for answer in answers} == {200}
        for call in stock[4:]:
            assert (await call).status_code == 200
        (row,) = await sql.fetch(
            "SELECT quantity, reorder_level, availability FROM stock JOIN items ON id = item_id"
        )
        expected = "low_stock" if row["quantity"] <= row["reorder_level"] else "in_stock"
        assert (row["quantity"], row["availability"]) == (10, expected)


class TestConcurrentSkus:
    async def test_one_of_many_gets_a_sku(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        body = {"sku": "NW-1", "name": "Chai", "price": "18.00"}
        answers = await asyncio.gather(*(admin.api.post("/items", json=body) for _ in range(10)))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
        assert await sql.fetchval("SELECT count(*) FROM stock") == 1

    async def test_one_of_many_is_renamed_to_a_sku(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        made = [await make.item(sku=f"NW-{number}") for number in range(1, 9)]
        answers = await asyncio.gather(
            *(admin.api.patch(f"/items/{item.id}", json={"sku": "CHAI"}) for item in made)
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
        assert await sql.fetchval("SELECT count(*) FROM items WHERE sku = 'CHAI'") == 1

    async def test_batches_with_the_same_skus_do_not_deadlock(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin = await make.admin()
        batch = [{"sku": f"NW-{number}", "name": "Chai", "price": "18.00"} for number in range(200)]
        answers = await asyncio.gather(
            *(
                admin.api.post("/items/batch", json=order)
                for order in (batch, batch[::-1], batch, batch[::-1])
            )
        )
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
        assert await sql.fetchval("SELECT count(*) FROM items") == 200
