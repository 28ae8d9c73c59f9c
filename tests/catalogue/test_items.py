from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import asyncpg
import httpx2
import pytest

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make


def names(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()]


def next_page(answer: httpx2.Response) -> str:
    link: str = answer.links["next"]["url"]
    return f"http://shop.test{link}"


async def all_pages(api: Api, url: str) -> list[str]:
    """The names on this page and on all that follow it."""
    answer = await api.get(url)
    found = names(answer)
    while "link" in answer.headers:
        answer = await api.get(next_page(answer))
        found += names(answer)
    return found


async def make_items(make: Make, *items: dict[str, Any]) -> None:
    for item in items:
        await make.item(**item)


class TestListItems:
    async def test_shows_items_without_their_stock(self, api: Api, make: Make) -> None:
        item = await make.item(
            name="Chang", sku="NW-2", description="24 bottles", category="Beverages", price="19", stock=17
        )
        answer = await api.get("/items")
        (shown,) = answer.json()
        assert shown.pop("created_at").endswith("Z")
        assert shown.pop("updated_at").endswith("Z")
        assert shown == {
            "id": item.id,
            "sku": "NW-2",
            "name": "Chang",
            "description": "24 bottles",
            "category": "Beverages",
            "price": "19.00",
            "availability": "in_stock",
            "is_active": True,
            "version": 1,
        }
        assert (answer.headers["cache-control"], "link" in answer.headers) == ("no-cache", False)

    async def test_an_empty_catalogue(self, api: Api) -> None:
        answer = await api.get("/items")
        assert (answer.status_code, answer.json()) == (200, [])

    async def test_withdrawn_items_are_for_administrators(self, api: Api, make: Make) -> None:
        await make_items(make, {"name": "Chai"}, {"name": "Chang", "is_active": False})
        user, admin = await make.user(), await make.admin()
        assert names(await api.get("/items")) == ["Chai"]
        assert names(await user.api.get("/items")) == ["Chai"]
        shown = (await admin.api.get("/items")).json()
        assert [(item["name"], item["is_active"]) for item in shown] == [("Chai", True), ("Chang", False)]

    async def test_only_the_withdrawn_or_only_the_others(self, api: Api, make: Make) -> None:
        await make_items(make, {"name": "Chai"}, {"name": "Chang", "is_active": False})
        admin = await make.admin()
        assert names(await admin.api.get("/items?is_active=false")) == ["Chang"]
        assert names(await admin.api.get("/items?is_active=true")) == ["Chai"]
        assert names(await api.get("/items?is_active=false")) == []
        assert names(await api.get("/items?is_active=true")) == ["Chai"]

    async def test_a_bad_token_is_refused(self, api: Api) -> None:
        assert_problem(await api.signed_in("bad").get("/items"), 401, "invalid_token")

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("sku=NW-2", ["Chang"]),
            ("sku=nw-2", []),
            ("category=Beverages", ["Chai", "Chang"]),
            ("category=beverages", []),
            ("in_stock=true", ["Chai", "Syrup"]),
            ("in_stock=false", ["Chang"]),
            ("min_price=18", ["Chai", "Chang"]),
            ("min_price=18.01", ["Chang"]),
            ("max_price=18.00", ["Chai", "Syrup"]),
            ("min_price=18&max_price=18", ["Chai"]),
            ("min_price=0&category=Beverages&in_stock=true", ["Chai"]),
        ],
    )
    async def test_filters(self, api: Api, make: Make, query: str, expected: list[str]) -> None:
        await make_items(
            make,
            {"name": "Chai", "sku": "NW-1", "category": "Beverages", "stock": 39},
            {"name": "Chang", "sku": "NW-2", "category": "Beverages", "price": "19.00"},
            {"name": "Syrup", "sku": "NW-3", "category": "Condiments", "price": "10.00", "stock": 2},
        )
        assert names(await api.get(f"/items?{query}")) == expected

    async def test_low_stock_counts_as_in_stock(self, api: Api, make: Make) -> None:
        item = await make.item(stock=3, reorder_level=3)
        assert item.availability == "low_stock"
        assert names(await api.get("/items?in_stock=true")) == ["Chai"]

    async def test_what_was_changed_since_a_moment(
        self, api: Api, make: Make, sql: asyncpg.Connection
    ) -> None:
        await make_items(make, {"name": "Chai"}, {"name": "Chang"})
        await api.get("/items", params={"updated_since": "2026-01-01T10:00:00Z"})
        place = (
            "UPDATE sequenced_changes SET sequenced_at = $2"
            " WHERE row_id = (SELECT id FROM items WHERE name = $1)"
        )
        await sql.execute(place, "Chai", datetime(2026, 1, 1, 10, tzinfo=UTC))
        await sql.execute(place, "Chang", datetime(2026, 1, 1, 11, tzinfo=UTC))

        async def since(moment: str) -> list[str]:
            return names(await api.get("/items", params={"updated_since": moment}))

        assert await since("2026-01-01T10:00:00Z") == ["Chai", "Chang"]
        assert await since("2026-01-01T11:00:00.000001+01:00") == ["Chang"]
        assert await since("2026-01-01T12:00:01+01:00") == []

    @pytest.mark.parametrize(
        ("sort", "expected"),
        [
            ("id", "Chai Chang Aniseed Boston"),
            ("-id", "Boston Aniseed Chang Chai"),
            ("name", "Aniseed Boston Chai Chang"),
            ("-name", "Chang Chai Boston Aniseed"),
            ("price", "Aniseed Chai Boston Chang"),
            ("-price", "Chang Boston Chai Aniseed"),
            ("created_at", "Chai Chang Aniseed Boston"),
            ("-created_at", "Boston Aniseed Chang Chai"),
            ("updated_at", "Chang Aniseed Boston Chai"),
            ("-updated_at", "Chai Boston Aniseed Chang"),
        ],
    )
    @pytest.mark.parametrize("limit", [1, 3, 4])
    async def test_sorts_page_after_page(
        self, api: Api, make: Make, sql: asyncpg.Connection, *, sort: str, expected: str, limit: int
    ) -> None:
        await make_items(
            make,
            {"name": "Chai", "price": "18.00"},
            {"name": "Chang", "price": "19.00"},
            {"name": "Aniseed", "price": "10.00"},
            {"name": "Boston", "price": "18.00"},
        )
        await sql.execute("UPDATE items SET updated_at = now() WHERE name = 'Chai'")
        found = await all_pages(api, f"/items?sort={sort}&limit={limit}")
        assert found == expected.split()

    async def test_the_next_page_is_where_the_last_one_ended(
        self, api: Api, make: Make, sql: asyncpg.Connection
    ) -> None:
        await make_items(make, {"name": "B"}, {"name": "D"}, {"name": "F"})
        first = await api.get("/items?sort=name&limit=2")
        await make_items(make, {"name": "A"}, {"name": "E"})
        await sql.execute("UPDATE items SET is_active = false WHERE name = 'B'")
        assert names(first) == ["B", "D"]
        assert names(await api.get(next_page(first))) == ["E", "F"]

    async def test_the_link_keeps_the_filters(self, api: Api, make: Make) -> None:
        for number in range(3):
            await make.item(name=f"Chai {number}", category="Tea & Co")
        await make.item(name="Chai of another category")
        url = "/items?" + urlencode({"category": "Tea & Co", "limit": 2})
        assert await all_pages(api, url) == ["Chai 0", "Chai 1", "Chai 2"]

    async def test_skips(self, api: Api, make: Make) -> None:
        await make_items(make, {"name": "A"}, {"name": "B"}, {"name": "C"})
        assert names(await api.get("/items?skip=1&limit=1")) == ["B"]
        assert names(await api.get("/items?skip=3")) == []

    async def test_a_cursor_serves_its_own_list_alone(self, api: Api, make: Make) -> None:
        await make_items(make, {"name": "A"}, {"name": "B"})
        url = next_page(await api.get("/items?limit=1&sort=name"))
        for other in (url.replace("sort=name", "sort=price"), url + "&in_stock=true", url + "A"):
            assert_problem(await api.get(other), 422, "invalid_input", "?cursor")
        assert_problem(await api.get(url + "&skip=1"), 422, "invalid_input", "?skip")

    @pytest.mark.parametrize(
        ("query", "pointers"),
        [
            ("sort=stock", ["?sort"]),
            ("sort=id;drop", ["?sort"]),
            ("sort=", ["?sort"]),
            ("search=ch", ["?search"]),
            ("search=%20ch%20", ["?search"]),
            ("search=" + "x" * 101, ["?search"]),
            ("search=cha%00i", ["?search"]),
            ("search=chai&sort=name", ["?sort"]),
            ("search=chai&sort=id", ["?sort"]),
            ("sku=", ["?sku"]),
            ("category=" + "x" * 10_000, ["?category"]),
            ("in_stock=perhaps", ["?in_stock"]),
            ("is_active=perhaps", ["?is_active"]),
            ("min_price=-1", ["?min_price"]),
            ("min_price=NaN", ["?min_price"]),
            ("max_price=Infinity", ["?max_price"]),
            ("max_price=1e400", ["?max_price"]),
            ("max_price=1.001", ["?max_price"]),
            ("min_price=2&max_price=1", ["?min_price"]),
            ("updated_since=2026-01-01", ["?updated_since"]),
            ("updated_since=2026-01-01T10:00:00", ["?updated_since"]),
            ("updated_since=1767261600", ["?updated_since"]),
            ("updated_since=2026-01-01T10:00:00%2B99:00", ["?updated_since"]),
            ("updated_since=0001-01-01T00:00:00%2B14:00", ["?updated_since"]),
            ("updated_since=9999-12-31T23:59:59-14:00", ["?updated_since"]),
            ("limit=101", ["?limit"]),
            ("skip=10001", ["?skip"]),
            ("colour=red", ["?colour"]),
            ("sku=a&sku=b", ["?sku"]),
        ],
    )
    async def test_refuses_bad_parameters(self, api: Api, query: str, pointers: list[str]) -> None:
        assert_problem(await api.get(f"/items?{query}"), 422, "invalid_input", *pointers)


class TestSearchItems:
    async def test_the_best_match_comes_first(self, api: Api, make: Make) -> None:
        await make_items(
            make,
            {"name": "Chocolade"},
            {"name": "Chai", "description": "with chocolate"},
            {"name": "Teatime Chocolate Biscuits"},
            {"name": "Chocolate"},
            {"name": "Tofu"},
        )
        assert names(await api.get("/items?search=chocolate")) == [
            "Chocolate",
            "Teatime Chocolate Biscuits",
            "Chocolade",
            "Chai",
        ]

    @pytest.mark.parametrize(("name", "words"), [("Шоколад", "шоколат"), ("Žižole", "žižola")])
    async def test_finds_typos_in_any_script(self, api: Api, make: Make, name: str, words: str) -> None:
        await make_items(make, {"name": name}, {"name": "Tofu"})
        assert names(await api.get("/items", params={"search": words})) == [name]

    async def test_narrows_by_filters_and_visibility(self, api: Api, make: Make) -> None:
        await make_items(
            make,
            {"name": "Green tea", "price": "5.00"},
            {"name": "Black tea", "price": "7.00"},
            {"name": "White tea", "price": "4.00", "is_active": False},
        )
        admin = await make.admin()
        assert names(await api.get("/items?search=teas&max_price=5")) == ["Green tea"]
        assert sorted(names(await admin.api.get("/items?search=teas&max_price=5"))) == [
            "Green tea",
            "White tea",
        ]

    @pytest.mark.parametrize("start", ["limit=3", "limit=3&skip=1"])
    async def test_pages_go_on_where_the_last_ended(self, api: Api, make: Make, start: str) -> None:
        for number in range(7):
            await make.item(name=f"Tea {number}")
        whole = [f"Tea {number}" for number in range(7)]
        found = await all_pages(api, f"/items?search=tea&{start}")
        assert found == whole["skip" in start :]

    async def test_ends_after_a_thousand(self, api: Api, sql: asyncpg.Connection) -> None:
        await sql.execute(
            "INSERT INTO items (sku, name, price) SELECT n, 'Tea', 1 FROM generate_series(1, 1011) AS n"
        )
        last = await api.get("/items?search=tea&limit=100&skip=900")
        assert (len(last.json()), "link" in last.headers) == (100, False)
        assert len((await api.get("/items?search=tea&limit=100&skip=950")).json()) == 50
        assert names(await api.get("/items?search=tea&limit=100&skip=1000")) == []
        assert "link" in (await api.get("/items?search=tea&limit=100&skip=899")).headers


class TestListCategories:
    async def test_counts_what_is_on_sale(self, api: Api, make: Make) -> None:
        await make_items(
            make,
            {"category": "Condiments"},
            {"category": "Beverages"},
            {"category": "Beverages"},
            {"category": "Beverages", "is_active": False},
            {"category": "Produce", "is_active": False},
            {"category": ""},
        )
        answer = await api.get("/items/categories")
        assert answer.json() == [
            {"category": "Beverages", "count": 2},
            {"category": "Condiments", "count": 1},
        ]
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")

    async def test_an_empty_catalogue_has_none(self, api: Api) -> None:
        assert (await api.get("/items/categories")).json() == []


class TestGetItem:
    async def test_is_public(self, api: Api, make: Make) -> None:
        item = await make.item(stock=5)
        answer = await api.get(f"/items/{item.id}")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
        assert answer.json() == item.model_dump(mode="json")

    async def test_a_withdrawn_one_is_for_administrators(self, api: Api, make: Make) -> None:
        item = await make.item(is_active=False)
        user, admin = await make.user(), await make.admin()
        assert_problem(await api.get(f"/items/{item.id}"), 404, "not_found")
        assert_problem(await user.api.get(f"/items/{item.id}"), 404, "not_found")
        answer = await admin.api.get(f"/items/{item.id}")
        assert (answer.status_code, answer.json()["is_active"]) == (200, False)

    async def test_an_unknown_one_is_404(self, api: Api) -> None:
        assert_problem(await api.get("/items/9223372036854775807"), 404, "not_found")

    @pytest.mark.parametrize("item_id", ["0", "-1", "x", "1.5", "9223372036854775808", "9" * 5_000])
    async def test_what_is_no_id_is_422(self, api: Api, item_id: str) -> None:
        assert_problem(await api.get(f"/items/{item_id}"), 422, "invalid_input", "{item_id}")
