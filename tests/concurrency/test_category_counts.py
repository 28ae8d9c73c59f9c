"""The kept counts of categories are those of the items, by whichever statement, and with many at once."""

import asyncio
import random
from collections.abc import Iterator

import asyncpg
import pytest
from alembic import command

from tests.helpers.factories import Make
from tests.migrations.test_migrations import config, rows
from tests.server.process import cloned_database, statement

ADDED = "INSERT INTO items (sku, name, category, price) SELECT {sku} || n, 'Chai', 'C' || n % 3, 1 FROM "
ADDED_AGAIN = """
    INSERT INTO items (sku, name, category, price) VALUES ('S0', 'Chai', 'C0', 1)
    ON CONFLICT (sku) DO UPDATE SET category = 'C1'
"""
#: The lines of orders, which would be truncated too, refuse it.
TRUNCATED = """
    ALTER TABLE order_lines DISABLE TRIGGER USER; TRUNCATE items CASCADE;
    ALTER TABLE order_lines ENABLE TRIGGER USER
"""
WRONG = """
    SELECT category, counted, items FROM (
        SELECT category, sum(delta) AS counted FROM category_counts GROUP BY category
    ) AS kept FULL JOIN (
        SELECT category, count(*) AS items FROM items WHERE is_active AND category <> '' GROUP BY category
    ) AS found USING (category) WHERE coalesce(counted, 0) <> coalesce(items, 0)
"""


@pytest.fixture
def before() -> Iterator[str]:
    """A database of the revision before, with items."""
    with cloned_database(template=None) as url:
        command.upgrade(config(url), "20261130_reserved_stock")
        statement(url, ADDED.format(sku="'B'") + "generate_series(1, 10) AS n")
        statement(url, "UPDATE items SET is_active = false WHERE sku = 'B1'")
        yield url


async def shown(make: Make) -> dict[str, int]:
    answer = await make.api.get("/items/categories", headers={"Cache-Control": "no-cache"})
    return {each["category"]: each["count"] for each in answer.json()}


class TestCounts:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (ADDED.format(sku="'N'") + "generate_series(1, 3) AS n", {"C0": 3, "C1": 3, "C2": 3}),
            (ADDED.format(sku="'N'") + "generate_series(1, 0) AS n", {"C0": 2, "C1": 2, "C2": 2}),
            ("UPDATE items SET is_active = false WHERE category = 'C1'", {"C0": 2, "C2": 2}),
            ("UPDATE items SET category = 'C2'", {"C2": 6}),
            ("UPDATE items SET category = '' WHERE category = 'C2'", {"C0": 2, "C1": 2}),
            ("UPDATE items SET category = 'C1', is_active = false WHERE id % 2 = 0", None),
            ("UPDATE items SET price = 2, availability = 'in_stock'", {"C0": 2, "C1": 2, "C2": 2}),
            ("DELETE FROM items WHERE category = 'C0'", {"C1": 2, "C2": 2}),
            (TRUNCATED, {}),
            (ADDED_AGAIN, {"C0": 1, "C1": 3, "C2": 2}),
        ],
    )
    async def test_follow_every_statement(
        self, make: Make, sql: asyncpg.Connection, change: str, expected: dict[str, int] | None
    ) -> None:
        """Of any client: of the release before, or an operator's."""
        await sql.execute(ADDED.format(sku="'S'") + "generate_series(0, 5) AS n")
        await sql.execute(change)
        assert await sql.fetch(WRONG) == []
        if expected is not None:
            assert await shown(make) == expected

    async def test_are_rolled_back_with_the_change(self, make: Make, sql: asyncpg.Connection) -> None:
        await sql.execute(ADDED.format(sku="'S'") + "generate_series(0, 5) AS n")
        transaction = sql.transaction()
        await transaction.start()
        await sql.execute("UPDATE items SET category = 'C2'")
        await sql.execute("DELETE FROM items WHERE sku = 'S0'")
        await transaction.rollback()
        assert await shown(make) == {"C0": 2, "C1": 2, "C2": 2}
        assert await sql.fetch(WRONG) == []

    async def test_are_added_up_now_and_then(self, sql: asyncpg.Connection) -> None:
        await sql.execute(ADDED.format(sku="'S'") + "generate_series(0, 5) AS n")
        for number in range(200):
            await sql.execute("UPDATE items SET category = $1 WHERE sku = 'S0'", f"D{number % 2}")
        assert await sql.fetchval("SELECT count(*) FROM category_counts") < 140
        assert await sql.fetch(WRONG) == []

    async def test_may_be_changed_by_a_transaction_that_sees_an_older_state(
        self, database_url: str, sql: asyncpg.Connection
    ) -> None:
        await sql.execute(ADDED.format(sku="'S'") + "generate_series(0, 5) AS n")
        other = await asyncpg.connect(database_url)
        try:
            async with other.transaction(isolation="repeatable_read"):
                await other.fetchval("SELECT count(*) FROM items")
                await sql.execute("SELECT add_up_category_counts()")
                for number in range(130):
                    await other.execute("UPDATE items SET category = $1 WHERE sku = 'S0'", f"D{number % 2}")
        finally:
            await other.close()
        assert await sql.fetch(WRONG) == []


class TestWriters:
    async def test_at_once_lose_no_count(self, database_url: str, sql: asyncpg.Connection) -> None:
        """Some transactions change several categories in turn, in any order, and some are rolled back."""
        await sql.execute(ADDED.format(sku="'S'") + "generate_series(0, 23) AS n")

        async def write(writer: int) -> None:
            dice = random.Random(writer)
            connection = await asyncpg.connect(database_url)
            try:
                for _ in range(60):
                    transaction = connection.transaction()
                    await transaction.start()
                    for _ in range(dice.randrange(1, 4)):
                        # Items of its own, and the categories of all.
                        await connection.execute(
                            "UPDATE items SET category = $1, is_active = $2 WHERE sku = $3",
                            f"C{dice.randrange(4)}", dice.random() < 0.8,
                            f"S{writer * 3 + dice.randrange(3)}",
                        )  # fmt: skip
                    await (transaction.commit() if dice.random() < 0.8 else transaction.rollback())
            finally:
                await connection.close()

        await asyncio.gather(*map(write, range(8)))
        assert await sql.fetch(WRONG) == []
        assert await sql.fetchval("SELECT count(*) FROM category_counts") < 300

    async def test_do_not_wait_for_each_other(self, database_url: str, sql: asyncpg.Connection) -> None:
        """While one has added rows up and has not committed, others go on."""
        await sql.execute(ADDED.format(sku="'S'") + "generate_series(0, 5) AS n")
        other = await asyncpg.connect(database_url)
        try:
            async with other.transaction():
                await other.execute("UPDATE items SET category = 'C2' WHERE sku = 'S0'")
                await other.execute("SELECT add_up_category_counts()")
                await sql.execute("SET lock_timeout = '2s'")
                for number in range(130):
                    await sql.execute("UPDATE items SET category = $1 WHERE sku = 'S1'", f"D{number % 2}")
        finally:
            await sql.execute("RESET lock_timeout")
            await other.close()
        assert await sql.fetch(WRONG) == []


class TestMigration:
    def test_counts_what_is_there(self, before: str) -> None:
        command.upgrade(config(before), "head")
        assert rows(before, WRONG) == []
        assert rows(before, "SELECT category, delta FROM category_counts ORDER BY category") == [
            ("C0", 3), ("C1", 3), ("C2", 3),
        ]  # fmt: skip
