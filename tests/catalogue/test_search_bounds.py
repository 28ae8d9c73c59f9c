"""What a search does in a large catalogue: how much it looks at, and what it leaves out."""

from collections.abc import Iterator

import asyncpg
import pytest
from alembic import command

from service.container.api import Container
from tests.helpers.client import Api
from tests.helpers.factories import Make
from tests.helpers.statements import statements
from tests.migrations.test_migrations import config, rows
from tests.server.process import cloned_database, statement

ADDED = (
    "INSERT INTO items (sku, name, category, description, price) SELECT {sku} || n, {name}, {of}, '', n FROM "
)
WORDS = "SELECT lexeme, length FROM item_words ORDER BY lexeme"


async def add(sql: asyncpg.Connection, sku: str, name: str, count: int, category: str = "''") -> None:
    """Items n = 1 to `count`; `name` and `category` are expressions with n."""
    await sql.execute(
        ADDED.format(sku=f"'{sku}'", name=name, of=category) + f"generate_series(1, {count}) AS n"
    )


async def found(api: Api, query: str) -> list[str]:
    answer = await api.get(f"/items?limit=100&{query}")
    assert answer.status_code == 200
    return [each["name"] for each in answer.json()]


class TestCandidates:
    async def test_are_the_shortest_names_of_a_common_word(self, api: Api, sql: asyncpg.Connection) -> None:
        """They are the most alike to the word, wherever in the table they are."""
        await add(sql, "L", "'Large green tea number ' || n", 1_500)
        await add(sql, "S", "'Tea ' || chr(64 + n)", 3)
        assert (await found(api, "search=tea"))[:3] == ["Tea A", "Tea B", "Tea C"]

    async def test_of_two_common_words_have_both(self, api: Api, sql: asyncpg.Connection) -> None:
        await add(sql, "T", "'Tea ' || n", 1_200)
        await add(sql, "G", "'Green ' || n", 1_200)
        await add(sql, "B", "'Very green tea of class ' || n", 3)
        names = ["Very green tea of class 1", "Very green tea of class 2", "Very green tea of class 3"]
        assert (await found(api, "search=green tea"))[:3] == names

    async def test_pass_the_filters(self, api: Api, sql: asyncpg.Connection) -> None:
        """However few of the many that match do."""
        await add(sql, "T", "'Tea ' || n", 1_500)
        await add(sql, "R", "'Tea that is rare ' || n", 2, "'Rare'")
        await sql.execute("UPDATE items SET is_active = false WHERE sku = 'R2'")
        assert await found(api, "search=tea&category=Rare") == ["Tea that is rare 1"]
        assert await found(api, "search=taes&category=Rare") == []
        assert len(await found(api, "search=tea&min_price=1400")) == 100

    async def test_of_a_part_of_many_words_are_all_of_them(self, api: Api, sql: asyncpg.Connection) -> None:
        """Model numbers, of which no two are the same word."""
        await add(sql, "K", "'KB10' || chr(64 + n) || n || ' keyboard'", 45)
        for part in ("kb1", "KB10"):
            assert len(await found(api, f"search={part}")) == 45

    async def test_are_found_behind_words_that_no_item_has_any_more(
        self, api: Api, sql: asyncpg.Connection
    ) -> None:
        await add(sql, "B", "'brand' || n", 30)
        await add(sql, "M", "'superbrandx'", 1, "'Rare'")
        assert await found(api, "search=brand&category=Rare") == ["superbrandx"]
        await sql.execute("UPDATE items SET name = 'Cup' WHERE sku LIKE 'B%'")
        assert await found(api, "search=brand") == ["superbrandx"]

    @pytest.mark.parametrize("name", ["The Who", "Being There", "Who Are You", "What"])
    async def test_may_consist_of_the_most_common_words(self, api: Api, make: Make, name: str) -> None:
        """The full-text search leaves these out of what it compares."""
        await make.item(name="The Band")
        await make.item(name=name)
        assert (await found(api, f"search={name}"))[0] == name

    async def test_of_every_page_are_the_same(self, api: Api, sql: asyncpg.Connection) -> None:
        await add(sql, "T", "'Tea ' || n % 7 || ' number ' || n", 700)
        await add(sql, "C", "'Coffee ' || n", 700, "'Tea'")
        path, seen = "/api/v1/items?search=tea&limit=70", []
        while path:
            answer = await api.get(path.removeprefix("/api/v1"))
            seen += [each["id"] for each in answer.json()]
            path = answer.headers.get("link", "").partition("<")[2].partition(">")[0]
        assert (len(seen), len(set(seen))) == (1_000, 1_000)

    async def test_are_few_however_many_match(
        self, api: Api, container: Container, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With enough of the words themselves, nothing is asked about parts and typos."""
        await add(sql, "T", "'Tea ' || n", 300)
        with statements(container.database) as asked:
            await found(api, "search=tea")
        assert len(asked) == 3
        assert not any("name_words" in each for each in asked)


class TestPartialResults:
    async def test_are_said(self, api: Api, sql: asyncpg.Connection) -> None:
        """A thousand names with one of the words do not have the other."""
        await add(sql, "T", "'Tea ' || n", 1_001)
        await add(sql, "L", "'Tea and hazelnuts'", 1)
        partial = await api.get("/items?search=teas hazelnutz")
        assert partial.headers["search-results"] == "partial"
        assert [each["name"] for each in partial.json()] == ["Tea and hazelnuts"]
        whole = await api.get("/items?search=hazelnutz")
        assert ("search-results" in whole.headers, len(whole.json())) == (False, 1)


class TestWords:
    async def test_follow_names(self, make: Make, sql: asyncpg.Connection) -> None:
        await sql.execute("INSERT INTO items (sku, name, price) VALUES ('A', 'The green teas', 1)")
        assert [tuple(row) for row in await sql.fetch(WORDS)] == [("green", 14), ("tea", 14), ("the", 14)]
        await sql.execute("UPDATE items SET name = 'Black tea'")
        assert [tuple(row) for row in await sql.fetch(WORDS)] == [("black", 9), ("tea", 9)]
        await sql.execute("UPDATE items SET price = 2, name = name")
        assert await found(make.api, "search=xyzzy") == []
        assert await found(make.api, "search=blac") == ["Black tea"]
        assert await found(make.api, "search=gree") == []
        await sql.execute("DELETE FROM items")
        assert await sql.fetch(WORDS) == []

    async def test_are_found_inside_of_what_the_parser_takes_for_one(
        self, api: Api, sql: asyncpg.Connection
    ) -> None:
        await add(sql, "U", "'Tea_from/shop.example and T-shirts'", 1)
        for part in ("shop", "xampl", "shirt", "from/shop"):
            assert await found(api, f"search={part}") == ["Tea_from/shop.example and T-shirts"]

    async def test_that_two_transactions_add_at_once_make_neither_wait(
        self, api: Api, database_url: str, sql: asyncpg.Connection
    ) -> None:
        other = await asyncpg.connect(database_url)
        try:
            async with other.transaction():
                await other.execute("INSERT INTO items (sku, name, price) VALUES ('A', 'Marzipan egg', 1)")
                await sql.execute("INSERT INTO items (sku, name, price) VALUES ('B', 'Marzipan pig', 1)")
        finally:
            await other.close()
        assert sorted(await found(api, "search=marzypan")) == ["Marzipan egg", "Marzipan pig"]


@pytest.fixture
def before() -> Iterator[str]:
    with cloned_database(template=None) as url:
        command.upgrade(config(url), "20261130_filter_indexes")
        statement(
            url, ADDED.format(sku="'B'", name="'Green tea ' || n", of="''") + "generate_series(1, 3) AS n"
        )
        yield url


class TestMigration:
    def test_takes_the_names_that_are_there(self, before: str) -> None:
        command.upgrade(config(before), "head")
        found = rows(before, "SELECT lexeme, count(*) FROM item_words GROUP BY lexeme ORDER BY lexeme")
        assert found == [("1", 1), ("2", 1), ("3", 1), ("green", 3), ("tea", 3)]
        assert rows(before, "SELECT word FROM name_words ORDER BY word") == [("green",), ("tea",)]
