"""How orders are found: by reference, by a search, in an order of the caller's choice."""

from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

import asyncpg
import pytest

from service.orders.lists import service as lists
from service.platform.http.schemas import MAX_ID
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.orders import placed


async def pages(api: Api, path: str) -> AsyncIterator[list[int]]:
    """The ids of the orders of each page."""
    while path:
        answer = await api.get(path)
        assert answer.status_code == 200, answer.text
        yield [order["id"] for order in answer.json()]
        path = answer.headers.get("link", "").partition(">")[0].removeprefix("</api/v1")


async def ids(api: Api, query: str) -> list[int]:
    return [each async for page in pages(api, f"/orders?{query}") for each in page]


class TestByReference:
    async def test_customers_find_their_own_and_staff_all(self, make: Make) -> None:
        maria, other, chai = await make.user(), await make.user(), await make.item(stock=9)
        first, second = [(await placed(maria, chai.id, reference="PO 4711"))["id"] for _ in range(2)]
        await placed(maria, chai.id, reference="po 4711")
        await placed(maria, chai.id)
        others = (await placed(other, chai.id, reference="PO 4711"))["id"]
        assert await ids(maria.api, "reference=PO 4711") == [second, first]
        assert await ids(other.api, "reference=PO 4711") == [others]
        for person in (await make.admin(), await make.key("orders:read")):
            assert await ids(person.api, "reference=PO 4711") == [others, second, first]
            assert await ids(person.api, f"reference=PO 4711&user_id={other.id}") == [others]
            assert await ids(person.api, "reference=PO 47") == []

    @pytest.mark.parametrize("reference", ["", " ", "a%0Ab", "x" * 101])
    async def test_bad_ones(self, make: Make, reference: str) -> None:
        answer = await (await make.user()).api.get(f"/orders?reference={reference}")
        assert_problem(answer, 422, "invalid_input", "?reference")


class TestSearch:
    @pytest.fixture
    async def shop(self, make: Make) -> tuple[Person, list[int]]:
        """An administrator, and the orders of Maria (two), of Ana and of Thomas."""
        chai = await make.item(stock=9)
        maria = await make.user(full_name="Maria Anders", email="alfki@northwind.example")
        ana = await make.user(full_name="Ana Trujillo", email="ana@bücher.example")
        thomas = await make.user(full_name="Thomas 100% Hardy", email="thomas@northwind.example")
        buyers = (maria, ana, maria, thomas)
        return await make.admin(), [(await placed(buyer, chai.id))["id"] for buyer in buyers]

    @pytest.mark.parametrize(
        ("search", "found"),
        [
            ("anders", [2, 0]),
            ("ARIA AND", [2, 0]),
            ("northwind", [3, 2, 0]),
            ("ALFKI@northwind.example", [2, 0]),
            ("bücher", [1]),
            ("ana@xn--bcher-kva.example", [1]),
            ("100%", [3]),
            ("%", [3]),
            ("a_a", []),
            ("nobody", []),
        ],
    )
    async def test_by_the_customers_name_and_address(
        self, shop: tuple[Person, list[int]], search: str, found: list[int]
    ) -> None:
        admin, orders = shop
        answer = await admin.api.get("/orders", params={"search": search})
        assert [order["id"] for order in answer.json()] == [orders[place] for place in found]
        assert "search-results" not in answer.headers

    async def test_by_the_orders_number(self, shop: tuple[Person, list[int]]) -> None:
        admin, orders = shop
        for each in orders:
            assert await ids(admin.api, f"search={each}") == [each]
            assert await ids(admin.api, f"search=%23{each}") == [each]
        assert await ids(admin.api, f"search={MAX_ID}") == []
        assert await ids(admin.api, f"search={MAX_ID + 1}") == []

    async def test_with_filters_an_order_and_pages(self, shop: tuple[Person, list[int]], make: Make) -> None:
        key, (first, _, third, fourth) = await make.key("orders:read"), shop[1]
        found = [page async for page in pages(key.api, "/orders?search=northwind&sort=id&limit=2")]
        assert found == [[first, third], [fourth]]
        assert await ids(key.api, "search=northwind&status=paid") == []
        assert await ids(key.api, "search=northwind&status=placed&sort=-id") == [fourth, third, first]

    async def test_goes_by_the_account_as_it_is_now(
        self, shop: tuple[Person, list[int]], sql: asyncpg.Connection
    ) -> None:
        admin, orders = shop
        await sql.execute("UPDATE users SET full_name = 'Maria Schmidt' WHERE full_name = 'Maria Anders'")
        assert await ids(admin.api, "search=anders") == []
        assert await ids(admin.api, "search=schmidt") == [orders[2], orders[0]]

    async def test_says_when_more_customers_match_than_it_looks_at(
        self, shop: tuple[Person, list[int]]
    ) -> None:
        admin, orders = shop
        with patch.object(lists, "CUSTOMERS", 2):
            answer = await admin.api.get("/orders?search=northwind")
            assert answer.headers.get("search-results") is None
            answer = await admin.api.get("/orders?search=example&limit=1")
            assert answer.headers["search-results"] == "partial"
            assert await ids(admin.api, "search=example&limit=1") == orders[2::-1]

    async def test_customers_without_orders_find_nothing(
        self, shop: tuple[Person, list[int]], make: Make
    ) -> None:
        admin, orders = shop
        await make.user(full_name="Christina Berglund", email="berglund@northwind.example")
        assert await ids(admin.api, "search=berglund") == []
        assert await ids(admin.api, "search=northwind") == [orders[place] for place in (3, 2, 0)]

    async def test_is_for_staff(self, make: Make) -> None:
        maria = await make.user()
        for query in ("search=anders", "search=", f"search=anders&user_id={maria.id}"):
            assert_problem(await maria.api.get(f"/orders?{query}"), 403, "forbidden")

    @pytest.mark.parametrize("search", ["", " ", "a%0Ab", "x" * 101])
    async def test_bad_ones(self, make: Make, search: str) -> None:
        answer = await (await make.admin()).api.get(f"/orders?search={search}")
        assert_problem(answer, 422, "invalid_input", "?search")


class TestSort:
    @pytest.fixture
    async def history(self, make: Make, sql: asyncpg.Connection) -> tuple[Person, list[int]]:
        """Maria's orders, whose totals and last changes are in other orders than their numbers; two have the
        same total, and one another's time.
        """
        maria, chai = await make.user(), await make.item(stock=99, price="2.00")
        numbers = [(await placed(maria, chai.id, quantity))["id"] for quantity in (3, 1, 2, 2, 4)]
        for minute, order_id in zip((2, 5, 1, 4, 3), numbers, strict=True):
            await sql.execute(
                "UPDATE orders SET placed_at = timestamptz '2026-11-22 10:00Z' + $2 * interval '1 minute'"
                " WHERE id = $1",
                order_id,
                minute,
            )
        for order_id in (numbers[3], numbers[0], numbers[4], numbers[1], numbers[2]):
            await sql.execute("UPDATE orders SET external_id = id WHERE id = $1", order_id)
        return maria, numbers

    @pytest.mark.parametrize(
        ("sort", "places"),
        [
            ("id", [0, 1, 2, 3, 4]),
            ("placed_at", [2, 0, 4, 3, 1]),
            ("updated_at", [3, 0, 4, 1, 2]),
            ("total", [1, 2, 3, 0, 4]),
        ],
    )
    async def test_each_way_page_by_page(
        self, history: tuple[Person, list[int]], make: Make, sort: str, places: list[int]
    ) -> None:
        maria, numbers = history
        rising = [numbers[place] for place in places]
        for person in (maria, await make.admin()):
            for sign, expected in (("", rising), ("-", rising[::-1])):
                found = [page async for page in pages(person.api, f"/orders?sort={sign}{sort}&limit=2")]
                assert found == [expected[:2], expected[2:4], expected[4:]]

    async def test_is_the_newest_first_by_itself(self, history: tuple[Person, list[int]]) -> None:
        maria, _ = history
        assert await ids(maria.api, "") == await ids(maria.api, "sort=-placed_at")

    async def test_a_page_goes_on_where_it_was_although_others_are_placed(
        self, history: tuple[Person, list[int]], make: Make
    ) -> None:
        maria, numbers = history
        found, path = [], "/orders?sort=-total&limit=1"
        while path:
            answer = await maria.api.get(path)
            found += [order["id"] for order in answer.json()]
            path = answer.headers.get("link", "").partition(">")[0].removeprefix("</api/v1")
            # Of the highest total, so that it stands before what has been read.
            if len(found) < 3:
                await placed(maria, (await make.item(stock=1, price="90.00")).id)
        assert found == [numbers[place] for place in (4, 0, 3, 2, 1)]

    @pytest.mark.parametrize("sort", ["", "user_id", "--id", "id,total", "PLACED_AT"])
    async def test_bad_ones(self, make: Make, sort: str) -> None:
        answer = await (await make.user()).api.get(f"/orders?sort={sort}")
        assert_problem(answer, 422, "invalid_input", "?sort")

    async def test_a_cursor_is_of_its_order(self, history: tuple[Person, list[int]]) -> None:
        maria, _ = history
        answer = await maria.api.get("/orders?sort=total&limit=1")
        path = answer.headers["link"].partition(">")[0].removeprefix("</api/v1")
        other = await maria.api.get(path.replace("sort=total", "sort=id"))
        problem = assert_problem(other, 422, "invalid_input", "?cursor")
        assert problem["errors"][0]["code"] == "bad_cursor"


class TestWhatListsShow:
    async def test_an_order_shows_its_version_and_when_it_was_changed_last(self, make: Make) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=2)
        order = await placed(maria, chai.id)
        assert (order["version"], order["updated_at"]) == (1, order["placed_at"])
        paid = (await admin.api.post(f"/orders/{order['id']}/pay", json={"reference": "pi_1"})).json()
        for person in (maria, admin):
            [listed] = (await person.api.get("/orders")).json()
            assert listed["version"] == paid["version"] == 2
            assert listed["updated_at"] == paid["updated_at"] > order["updated_at"]


class TestByIds:
    """Of items and of stock: those of a sale in one request."""

    async def test_items_of_a_sale(self, make: Make, api: Api) -> None:
        tea = [await make.item(stock=each) for each in (1, 2, 3)]
        wanted = f"{tea[2].id},{tea[0].id},{tea[0].id},{MAX_ID}"

        async def found(caller: Any, path: str, key: str) -> list[int]:
            answer = await caller.get(path)
            assert answer.status_code == 200, answer.text
            return [row[key] for row in answer.json()]

        admin = await make.admin()
        assert await found(api, f"/items?ids={wanted}", "id") == [tea[0].id, tea[2].id]
        assert await found(admin.api, f"/stock?ids={wanted}", "item_id") == [tea[0].id, tea[2].id]
        # What is withdrawn is left out for those who cannot see it.
        await admin.api.delete(f"/items/{tea[0].id}")
        assert await found(api, f"/items?ids={wanted}", "id") == [tea[2].id]
        assert await found(admin.api, f"/items?ids={wanted}", "id") == [tea[0].id, tea[2].id]
        assert await found(admin.api, f"/items?ids={wanted}&sort=-id", "id") == [tea[2].id, tea[0].id]

    @pytest.mark.parametrize("ids", ["", "1,", "x", "0", "-1", str(MAX_ID + 1), ",".join(["1"] * 101)])
    @pytest.mark.parametrize("path", ["/items", "/stock"])
    async def test_bad_ones(self, make: Make, path: str, ids: str) -> None:
        answer = await (await make.admin()).api.get(f"{path}?ids={ids}")
        assert_problem(answer, 422, "invalid_input", "?ids")
