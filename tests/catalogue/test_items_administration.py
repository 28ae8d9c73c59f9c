from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make

CHAI = {"name": "Chai", "price": "18.00"}

#: What is wrong with an item, whether it comes alone or in a batch.
BAD_ITEMS = [
    ({**CHAI, "name": ""}, "/name"),
    ({**CHAI, "name": "   "}, "/name"),
    ({**CHAI, "name": "x" * 201}, "/name"),
    ({**CHAI, "name": "a\0b"}, "/name"),
    ({**CHAI, "name": None}, "/name"),
    ({"price": "18.00"}, "/name"),
    ({"name": "Chai"}, "/price"),
    ({**CHAI, "price": "0"}, "/price"),
    ({**CHAI, "price": "-1"}, "/price"),
    ({**CHAI, "price": "1.001"}, "/price"),
    ({**CHAI, "price": "99999999999.00"}, "/price"),
    ({**CHAI, "price": "1e400"}, "/price"),
    ({**CHAI, "price": "NaN"}, "/price"),
    ({**CHAI, "price": "cheap"}, "/price"),
    ({**CHAI, "price": None}, "/price"),
    ({**CHAI, "sku": ""}, "/sku"),
    ({**CHAI, "sku": "x" * 101}, "/sku"),
    ({**CHAI, "sku": "a\nb"}, "/sku"),
    ({**CHAI, "description": "x" * 10_001}, "/description"),
    ({**CHAI, "description": "a\0b"}, "/description"),
    ({**CHAI, "category": "x" * 101}, "/category"),
    ({**CHAI, "category": "a\0b"}, "/category"),
    ({**CHAI, "is_active": None}, "/is_active"),
    ({**CHAI, "stock": -1}, "/stock"),
    ({**CHAI, "stock": 1_000_001}, "/stock"),
    ({**CHAI, "stock": 1.5}, "/stock"),
    ({**CHAI, "reorder_level": -1}, "/reorder_level"),
    ({**CHAI, "reorder_level": 10**30}, "/reorder_level"),
    ({**CHAI, "availability": "in_stock"}, "/availability"),
    ({**CHAI, "id": 7}, "/id"),
]


async def rows(sql: asyncpg.Connection) -> tuple[int, int, int]:
    counts = [await sql.fetchval(f"SELECT count(*) FROM {t}") for t in ("items", "stock", "stock_movements")]
    return counts[0], counts[1], counts[2]


class TestCreateItem:
    async def test_only_name_and_price_are_needed(self, make: Make) -> None:
        admin = await make.admin()
        answer = await admin.api.post("/items", json=CHAI)
        item = answer.json()
        assert (answer.status_code, answer.headers["location"]) == (201, f"/api/v1/items/{item['id']}")
        assert item.pop("created_at") == item.pop("updated_at")
        assert item == {
            "id": item["id"],
            "sku": f"TP-{item['id']}",
            "name": "Chai",
            "description": "",
            "category": "",
            "price": "18.00",
            "availability": "out_of_stock",
            "is_active": True,
            "version": 1,
        }
        assert (await admin.api.get(f"/items/{item['id']}/stock")).json() == {
            "item_id": item["id"],
            "quantity": 0,
            "reorder_level": 0,
            "movements": [],
        }

    async def test_everything_at_once(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        body = {
            "sku": "NW-2",
            "name": " Chang ",
            "description": "24 - 12 oz bottles",
            "category": "Beverages",
            "price": 19.5,
            "is_active": False,
            "stock": 17,
            "reorder_level": 25,
        }
        item = (await admin.api.post("/items", json=body)).json()
        assert {name: item[name] for name in body if name in item} == {
            "sku": "NW-2",
            "name": "Chang",
            "description": "24 - 12 oz bottles",
            "category": "Beverages",
            "price": "19.50",
            "is_active": False,
        }
        assert item["availability"] == "low_stock"
        (stock,) = await sql.fetch("SELECT * FROM stock")
        assert tuple(stock) == (item["id"], 17, 25, None)
        (entry,) = await sql.fetch("SELECT item_id, order_id, actor_id, kind, delta FROM stock_movements")
        assert tuple(entry) == (item["id"], None, admin.id, "initial", 17)

    async def test_null_is_the_same_as_absent(self, make: Make) -> None:
        admin = await make.admin()
        body = {**CHAI, "sku": None, "description": None, "category": None}
        item = (await admin.api.post("/items", json=body)).json()
        assert (item["sku"], item["description"], item["category"]) == (f"TP-{item['id']}", "", "")

    @pytest.mark.parametrize(
        ("stock", "level", "availability"),
        [(0, 0, "out_of_stock"), (0, 5, "out_of_stock"), (5, 5, "low_stock"), (6, 5, "in_stock")],
    )
    async def test_shows_its_availability(
        self, make: Make, stock: int, level: int, availability: str
    ) -> None:
        admin = await make.admin()
        body = {**CHAI, "stock": stock, "reorder_level": level}
        assert (await admin.api.post("/items", json=body)).json()["availability"] == availability

    async def test_a_taken_sku_is_409(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        await make.item(sku="NW-1", stock=3, is_active=False)
        answer = await admin.api.post("/items", json={**CHAI, "sku": "NW-1", "stock": 4})
        assert_problem(answer, 409, "sku_taken", "/sku")
        assert await rows(sql) == (1, 1, 1)

    async def test_a_sku_from_the_id_passes_over_those_taken(self, make: Make) -> None:
        admin = await make.admin()
        last = (await make.item()).id
        for ahead in (3, 4):  # the two items made here have the ids last + 1 and last + 2
            await make.item(sku=f"TP-{last + ahead}")
        item = (await admin.api.post("/items", json=CHAI)).json()
        assert (item["id"], item["sku"]) == (last + 5, f"TP-{last + 5}")

    @pytest.mark.parametrize(("body", "pointer"), BAD_ITEMS)
    async def test_refuses_bad_input(
        self, make: Make, sql: asyncpg.Connection, body: dict[str, Any], pointer: str
    ) -> None:
        admin = await make.admin()
        assert_problem(await admin.api.post("/items", json=body), 422, "invalid_input", pointer)
        assert await rows(sql) == (0, 0, 0)

    async def test_is_for_administrators(self, api: Api, make: Make, sql: asyncpg.Connection) -> None:
        user = await make.user()
        assert_problem(await api.post("/items", json=CHAI), 401, "unauthenticated")
        assert_problem(await user.api.post("/items", json=CHAI), 403, "forbidden")
        assert await rows(sql) == (0, 0, 0)


class TestCreateItems:
    async def test_answers_in_the_order_given(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        batch = [
            {**CHAI, "sku": "Z", "stock": 5},
            {"name": "Chang", "price": "19.00"},
            {**CHAI, "sku": "A", "stock": 2, "reorder_level": 2},
        ]
        answer = await admin.api.post("/items/batch", json=batch)
        items = answer.json()
        assert (answer.status_code, "location" in answer.headers) == (201, False)
        assert [(item["sku"], item["price"], item["availability"]) for item in items] == [
            ("Z", "18.00", "in_stock"),
            (f"TP-{items[1]['id']}", "19.00", "out_of_stock"),
            ("A", "18.00", "low_stock"),
        ]
        assert await rows(sql) == (3, 3, 2)

    async def test_a_thousand(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        batch = [{"name": f"Tea {number}", "price": "1.00", "stock": 1} for number in range(1_000)]
        answer = await admin.api.post("/items/batch", json=batch)
        assert [item["name"] for item in answer.json()] == [item["name"] for item in batch]
        assert await rows(sql) == (1_000, 1_000, 1_000)

    @pytest.mark.parametrize("count", [0, 1_001])
    async def test_refuses_none_and_more_than_a_thousand(
        self, make: Make, sql: asyncpg.Connection, count: int
    ) -> None:
        admin = await make.admin()
        answer = await admin.api.post("/items/batch", json=[CHAI] * count)
        assert_problem(answer, 422, "invalid_input", "")
        assert await rows(sql) == (0, 0, 0)

    async def test_refuses_what_is_no_list(self, make: Make) -> None:
        admin = await make.admin()
        assert_problem(await admin.api.post("/items/batch", json={"items": [CHAI]}), 422, "invalid_input", "")

    async def test_one_bad_item_refuses_all(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        batch = [CHAI, {**CHAI, "price": "0"}, CHAI, {"price": "1.00", "sku": ""}]
        answer = await admin.api.post("/items/batch", json=batch)
        assert_problem(answer, 422, "invalid_input", "/1/price", "/3/name", "/3/sku")
        assert await rows(sql) == (0, 0, 0)

    async def test_names_each_sku_that_is_taken(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        await make.item(sku="NW-1", stock=3)
        skus = ["NW-2", "NW-1", None, "NW-3", "NW-2", "NW-2"]
        answer = await admin.api.post("/items/batch", json=[{**CHAI, "sku": sku} for sku in skus])
        assert_problem(answer, 409, "sku_taken", "/1/sku", "/4/sku", "/5/sku")
        assert await rows(sql) == (1, 1, 1)

    async def test_a_sku_from_the_id_passes_over_those_of_the_batch(self, make: Make) -> None:
        admin = await make.admin()
        last = (await make.item()).id
        batch = [CHAI, {**CHAI, "sku": f"TP-{last + 1}"}]
        items = (await admin.api.post("/items/batch", json=batch)).json()
        assert [(item["id"], item["sku"]) for item in items] == [
            (last + 2, f"TP-{last + 2}"),
            (last + 3, f"TP-{last + 1}"),
        ]

    async def test_is_for_administrators(self, api: Api, make: Make, sql: asyncpg.Connection) -> None:
        user = await make.user()
        assert_problem(await api.post("/items/batch", json=[CHAI]), 401, "unauthenticated")
        assert_problem(await user.api.post("/items/batch", json=[CHAI]), 403, "forbidden")
        assert await rows(sql) == (0, 0, 0)


class TestUpdateItem:
    async def test_changes_what_is_given(self, api: Api, make: Make) -> None:
        item, admin = await make.item(stock=5, description="10 boxes"), await make.admin()
        body = {"sku": "NW-1", "name": "Chai latte", "category": "Tea", "price": "18.50"}
        answer = await admin.api.patch(f"/items/{item.id}", json=body)
        changed = answer.json()
        assert answer.status_code == 200
        assert datetime.fromisoformat(changed["updated_at"]) > item.updated_at.astimezone(UTC)
        assert changed == {
            **item.model_dump(mode="json"),
            **body,
            "version": 2,
            "updated_at": changed["updated_at"],
        }
        assert (await api.get(f"/items/{item.id}")).json() == changed

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"name": "Chai", "price": "18.0", "is_active": True, "reorder_level": 3},
            {"category": None, "description": None},
            {"sku": "NW-1"},
            {"reorder_level": 4},
        ],
    )
    async def test_counts_no_version_when_nothing_that_is_shown_changes(
        self, make: Make, body: dict[str, Any]
    ) -> None:
        item, admin = await make.item(sku="NW-1", stock=5, reorder_level=3), await make.admin()
        answer = await admin.api.patch(f"/items/{item.id}", json=body)
        assert (answer.status_code, answer.json()) == (200, item.model_dump(mode="json"))

    async def test_null_removes_description_and_category(self, make: Make) -> None:
        item, admin = await make.item(description="10 boxes", category="Tea"), await make.admin()
        body = {"description": None, "category": None}
        changed = (await admin.api.patch(f"/items/{item.id}", json=body)).json()
        assert (changed["description"], changed["category"], changed["version"]) == ("", "", 2)

    async def test_the_reorder_level_may_change_the_availability(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        item, admin = await make.item(stock=5), await make.admin()
        body = {"reorder_level": 5, "name": "Chai latte"}
        changed = (await admin.api.patch(f"/items/{item.id}", json=body)).json()
        assert (changed["availability"], changed["name"], changed["version"]) == (
            "low_stock",
            "Chai latte",
            2,
        )
        changed = (await admin.api.patch(f"/items/{item.id}", json={"reorder_level": 4})).json()
        assert (changed["availability"], changed["version"]) == ("in_stock", 3)
        assert await sql.fetchval("SELECT (quantity, reorder_level) FROM stock") == (5, 4)

    async def test_withdraws_and_puts_back_on_sale(self, api: Api, make: Make) -> None:
        item, admin = await make.item(), await make.admin()
        await admin.api.patch(f"/items/{item.id}", json={"is_active": False})
        assert_problem(await api.get(f"/items/{item.id}"), 404, "not_found")
        await admin.api.patch(f"/items/{item.id}", json={"is_active": True})
        assert (await api.get(f"/items/{item.id}")).json()["version"] == 3

    async def test_a_taken_sku_is_409_and_changes_nothing(self, make: Make, sql: asyncpg.Connection) -> None:
        await make.item(sku="NW-1")
        item, admin = await make.item(sku="NW-2", stock=5), await make.admin()
        body = {"sku": "NW-1", "name": "Chai latte", "reorder_level": 9}
        assert_problem(await admin.api.patch(f"/items/{item.id}", json=body), 409, "sku_taken", "/sku")
        assert (await admin.api.get(f"/items/{item.id}")).json() == item.model_dump(mode="json")
        assert await sql.fetchval("SELECT reorder_level FROM stock WHERE item_id = $1", item.id) == 0

    @pytest.mark.parametrize("name", ["sku", "name", "price", "is_active", "reorder_level"])
    async def test_null_is_refused_where_there_must_be_a_value(self, make: Make, name: str) -> None:
        item, admin = await make.item(), await make.admin()
        body = {name: None, "description": "10 boxes"}
        answer = await admin.api.patch(f"/items/{item.id}", json=body)
        assert_problem(answer, 422, "invalid_input", f"/{name}")
        assert (await admin.api.get(f"/items/{item.id}")).json() == item.model_dump(mode="json")

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"name": ""}, "/name"),
            ({"price": "0"}, "/price"),
            ({"price": "1.001"}, "/price"),
            ({"sku": "a\0b"}, "/sku"),
            ({"reorder_level": 1_000_001}, "/reorder_level"),
            ({"stock": 5}, "/stock"),
            ({"version": 7}, "/version"),
            ([], ""),
        ],
    )
    async def test_refuses_bad_input(self, make: Make, body: Any, pointer: str) -> None:
        item, admin = await make.item(), await make.admin()
        answer = await admin.api.patch(f"/items/{item.id}", json=body)
        assert_problem(answer, 422, "invalid_input", pointer)
        assert (await admin.api.get(f"/items/{item.id}")).json() == item.model_dump(mode="json")

    async def test_an_unknown_item_is_404(self, make: Make) -> None:
        admin = await make.admin()
        assert_problem(await admin.api.patch("/items/9223372036854775807", json=CHAI), 404, "not_found")

    async def test_is_for_administrators(self, api: Api, make: Make) -> None:
        item, user = await make.item(), await make.user()
        body = {"price": "0.01"}
        assert_problem(await api.patch(f"/items/{item.id}", json=body), 401, "unauthenticated")
        assert_problem(await user.api.patch(f"/items/{item.id}", json=body), 403, "forbidden")
        assert (await api.get(f"/items/{item.id}")).json() == item.model_dump(mode="json")


class TestWithdrawItem:
    async def test_takes_it_from_sale(self, api: Api, make: Make) -> None:
        item, admin = await make.item(stock=5), await make.admin()
        answer = await admin.api.delete(f"/items/{item.id}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert_problem(await api.get(f"/items/{item.id}"), 404, "not_found")
        kept = (await admin.api.get(f"/items/{item.id}")).json()
        assert (kept["is_active"], kept["version"]) == (False, 2)
        assert (await admin.api.get(f"/items/{item.id}/stock")).json()["quantity"] == 5

    async def test_again_is_204_and_changes_nothing(self, make: Make) -> None:
        item, admin = await make.item(), await make.admin()
        await admin.api.delete(f"/items/{item.id}")
        kept = (await admin.api.get(f"/items/{item.id}")).json()
        assert (await admin.api.delete(f"/items/{item.id}")).status_code == 204
        assert (await admin.api.get(f"/items/{item.id}")).json() == kept

    async def test_an_unknown_item_is_404(self, make: Make) -> None:
        admin = await make.admin()
        assert_problem(await admin.api.delete("/items/9223372036854775807"), 404, "not_found")

    async def test_is_for_administrators(self, api: Api, make: Make) -> None:
        item, user = await make.item(), await make.user()
        assert_problem(await api.delete(f"/items/{item.id}"), 401, "unauthenticated")
        assert_problem(await user.api.delete(f"/items/{item.id}"), 403, "forbidden")
        assert (await api.get(f"/items/{item.id}")).status_code == 200
