from decimal import Decimal

import asyncpg
import pytest

from service.catalogue import repository
from service.catalogue import service as items
from service.catalogue.repository import Filters
from service.container.api import Container
from service.platform.database.pagination import Page
from tests.helpers.factories import Make

NORTHWIND = [
    "Chai",
    "Chang",
    "Aniseed Syrup",
    "Chef Anton's Cajun Seasoning",
    "Uncle Bob's Organic Dried Pears",
    "Queso Manchego La Pastora",
    "Teatime Chocolate Biscuits",
    "Sir Rodney's Marmalade",
    "Chocolade",
    "Schoggi Schokolade",
    "Röd Kaviar",
    "Tofu",
    "Longlife Tofu",
]


async def search(container: Container, words: str, page: Page | None = None) -> list[str]:
    async with container.database.reading() as session:
        rows = await items.find(session, None, page or Page(100), Filters(), search=words, sort=None)
    return [row.name for row in rows]


class TestSearch:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("aniseed", ["Aniseed Syrup"]),
            ("SYRUP", ["Aniseed Syrup"]),
            ("pear", ["Uncle Bob's Organic Dried Pears"]),  # a stem
            ("biscuit chocolate", ["Teatime Chocolate Biscuits"]),  # in any order
            ("nisee", ["Aniseed Syrup"]),  # a part of a word
            ("chego la past", ["Queso Manchego La Pastora"]),
            ("anisead", ["Aniseed Syrup"]),  # a typo
            ("marmelade", ["Sir Rodney's Marmalade"]),
            ("choklade", ["Chocolade", "Schoggi Schokolade"]),
            ("kaviar", ["Röd Kaviar"]),
            ("röd", ["Röd Kaviar"]),
            ("anton's", ["Chef Anton's Cajun Seasoning"]),
            ("longlife", ["Longlife Tofu"]),
            ("tofu", ["Tofu", "Longlife Tofu"]),  # the closer match first
            ("bicycle", []),
        ],
    )
    async def test_finds_words_parts_of_words_and_typos(
        self, make: Make, container: Container, words: str, expected: list[str]
    ) -> None:
        for name in NORTHWIND:
            await make.item(name=name)
        assert await search(container, words) == expected

    async def test_a_name_counts_more_than_a_category_and_a_description(
        self, make: Make, container: Container
    ) -> None:
        await make.item(name="Chang", description="a kind of tea")
        await make.item(name="Biscuits", category="Tea")
        await make.item(name="Tea from Assam")
        assert await search(container, "tea") == ["Tea from Assam", "Biscuits", "Chang"]

    async def test_equal_matches_come_in_the_order_of_their_ids(
        self, make: Make, container: Container
    ) -> None:
        made = [await make.item(name="Tea") for _ in range(5)]
        async with container.database.reading() as session:
            rows = await items.find(session, None, Page(100), Filters(), search="tea", sort=None)
        assert [row.id for row in rows] == [item.id for item in made]

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("x%z", ["x%z", "x_z", "x\\z"]),
            ("x_z", ["x_z", "x%z", "x\\z"]),
            ("x\\z", ["x\\z", "x%z", "x_z"]),
            ("xyz", ["xyz"]),
            ("%%%", []),
            ("___", []),
            ("\\\\\\", []),
            ("'''", []),
            ("'; DROP TABLE items; --", []),
            ("' OR 1=1 --", []),
            ("!(&|:*", []),
            (":1 $1 %s", []),
            ("<->", []),
            ('"""', []),
        ],
    )
    async def test_every_character_stands_for_itself(
        self, make: Make, container: Container, sql: asyncpg.Connection, words: str, expected: list[str]
    ) -> None:
        """The three that differ in a sign alone are alike to the trigrams; the literal one comes first."""
        for name in ("xyz", "x%z", "x_z", "x\\z"):
            await make.item(name=name)
        assert await search(container, words) == expected
        assert await sql.fetchval("SELECT count(*) FROM items") == 4

    @pytest.mark.parametrize("words", ["-tofu", '"-tofu', '""-tofu', "--tofu"])
    async def test_a_minus_does_not_turn_a_word_round(
        self, make: Make, container: Container, words: str
    ) -> None:
        for name in ("Chang", "Tofu", "Aniseed Syrup"):
            await make.item(name=name)
        assert await search(container, words) == ["Tofu"]

    async def test_a_hyphen_joins_words(self, make: Make, container: Container) -> None:
        for name in ("T-shirt", "Coca-Cola", "Tofu"):
            await make.item(name=name)
        assert await search(container, "coca-cola") == ["Coca-Cola"]
        assert await search(container, "t-shirt") == ["T-shirt"]


class TestChange:
    async def test_only_a_taken_sku_passes_for_one(self, make: Make, container: Container) -> None:
        """A price of 0, which no schema lets pass, breaks another constraint, and that is a fault of ours."""
        item = await make.item()
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            async with container.database.transaction() as session:
                await repository.change(session, item.id, {"sku": "NW-1", "price": Decimal(0)})
