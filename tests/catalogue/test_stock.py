import asyncpg
import pytest

from service.catalogue.schemas import MAX_STOCK
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make


async def stored(sql: asyncpg.Connection, item_id: int) -> tuple[int, int, int]:
    """Stock, what the ledger adds up to, and how many entries it has."""
    quantity = await sql.fetchval("SELECT quantity FROM stock WHERE item_id = $1", item_id)
    deltas = await sql.fetch("SELECT delta FROM stock_movements WHERE item_id = $1", item_id)
    return quantity, sum(row["delta"] for row in deltas), len(deltas)


class TestGetStock:
    async def test_shows_stock_reorder_level_and_ledger(self, make: Make) -> None:
        item, admin = await make.item(stock=39, reorder_level=10), await make.admin()
        await admin.api.post(f"/items/{item.id}/stock", json={"delta": -4, "reason": "Broken"})
        answer = await admin.api.get(f"/items/{item.id}/stock")
        stock = answer.json()
        assert answer.status_code == 200
        movements = stock.pop("movements")
        assert stock == {"item_id": item.id, "quantity": 35, "reorder_level": 10}
        assert all(movement.pop("created_at").endswith("Z") for movement in movements)
        assert movements[0].pop("id") > movements[1].pop("id")
        assert movements == [
            {"kind": "adjustment", "delta": -4, "reason": "Broken", "order_id": None, "actor_id": admin.id},
            {
                "kind": "initial",
                "delta": 39,
                "reason": "Initial stock",
                "order_id": None,
                "actor_id": None,
            },
        ]

    async def test_of_an_item_that_never_had_any(self, make: Make) -> None:
        item, admin = await make.item(), await make.admin()
        stock = (await admin.api.get(f"/items/{item.id}/stock")).json()
        assert stock == {"item_id": item.id, "quantity": 0, "reorder_level": 0, "movements": []}

    async def test_shows_the_last_hundred_movements(self, make: Make, sql: asyncpg.Connection) -> None:
        item, admin = await make.item(), await make.admin()
        await sql.execute(
            "INSERT INTO stock_movements (item_id, kind, delta, reason)"
            " SELECT $1, 'adjustment', n, 'n' FROM generate_series(1, 103) AS n",
            item.id,
        )
        movements = (await admin.api.get(f"/items/{item.id}/stock")).json()["movements"]
        assert [movement["delta"] for movement in movements] == list(range(103, 3, -1))

    async def test_of_a_withdrawn_item(self, make: Make) -> None:
        item, admin = await make.item(stock=3, is_active=False), await make.admin()
        answer = await admin.api.get(f"/items/{item.id}/stock")
        assert (answer.status_code, answer.json()["quantity"]) == (200, 3)

    async def test_an_unknown_item_is_404(self, make: Make) -> None:
        admin = await make.admin()
        assert_problem(await admin.api.get("/items/9223372036854775807/stock"), 404, "not_found")

    async def test_an_id_beyond_the_database_is_422(self, make: Make) -> None:
        admin = await make.admin()
        answer = await admin.api.get("/items/9223372036854775808/stock")
        assert_problem(answer, 422, "invalid_input", "{item_id}")

    async def test_is_for_administrators(self, api: Api, make: Make) -> None:
        item, user = await make.item(stock=3), await make.user()
        assert_problem(await api.get(f"/items/{item.id}/stock"), 401, "unauthenticated")
        assert_problem(await user.api.get(f"/items/{item.id}/stock"), 403, "forbidden")


class TestAdjustStock:
    async def test_adds_units(self, make: Make, sql: asyncpg.Connection) -> None:
        item, admin = await make.item(), await make.admin()
        answer = await admin.api.post(f"/items/{item.id}/stock", json={"delta": 24, "reason": "Delivery"})
        assert answer.status_code == 200
        assert (answer.json()["quantity"], len(answer.json()["movements"])) == (24, 1)
        assert await stored(sql, item.id) == (24, 24, 1)

    async def test_takes_units_down_to_none(self, make: Make, sql: asyncpg.Connection) -> None:
        item, admin = await make.item(stock=5), await make.admin()
        answer = await admin.api.post(f"/items/{item.id}/stock", json={"delta": -5, "reason": "Stolen"})
        assert (answer.status_code, answer.json()["quantity"]) == (200, 0)
        assert await stored(sql, item.id) == (0, 0, 2)

    async def test_never_takes_more_than_there_is(self, make: Make, sql: asyncpg.Connection) -> None:
        item, admin = await make.item(stock=5), await make.admin()
        answer = await admin.api.post(f"/items/{item.id}/stock", json={"delta": -6, "reason": "Stolen"})
        problem = assert_problem(answer, 409, "out_of_stock", "/delta")
        assert problem["detail"] == "Only 5 units are in stock: remove no more than that."
        assert problem["available"] == 5
        assert await stored(sql, item.id) == (5, 5, 1)

    async def test_never_holds_more_than_can_be_counted(self, make: Make, sql: asyncpg.Connection) -> None:
        item, admin = await make.item(stock=5), await make.admin()
        url = f"/items/{item.id}/stock"
        answer = await admin.api.post(url, json={"delta": MAX_STOCK - 4, "reason": "Typo"})
        assert_problem(answer, 422, "invalid_input", "/delta")
        assert await stored(sql, item.id) == (5, 5, 1)
        answer = await admin.api.post(url, json={"delta": MAX_STOCK - 5, "reason": "All there is"})
        assert answer.json()["quantity"] == MAX_STOCK

    async def test_an_item_shows_its_availability(self, api: Api, make: Make) -> None:
        item, admin = await make.item(reorder_level=10), await make.admin()
        shown = [("out_of_stock", 1)]
        for delta in (10, -1, 2, -11, 11):
            await admin.api.post(f"/items/{item.id}/stock", json={"delta": delta, "reason": "Count"})
            now = (await api.get(f"/items/{item.id}")).json()
            shown.append((now["availability"], now["version"]))
        assert shown == [
            ("out_of_stock", 1),
            ("low_stock", 2),
            ("low_stock", 2),
            ("in_stock", 3),
            ("out_of_stock", 4),
            ("in_stock", 5),
        ]

    async def test_leaves_the_item_alone_while_its_availability_stays(self, api: Api, make: Make) -> None:
        item, admin = await make.item(stock=50), await make.admin()
        before = (await api.get(f"/items/{item.id}")).json()
        await admin.api.post(f"/items/{item.id}/stock", json={"delta": -49, "reason": "Count"})
        assert (await api.get(f"/items/{item.id}")).json() == before

    async def test_notifies_administrators_when_it_falls_to_the_reorder_level(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        item = await make.item(stock=12, reorder_level=10)
        admin, other = await make.admin(), await make.admin()
        await make.user()
        await make.admin(is_active=False)
        for delta in (-1, -1, -1, 5):
            await admin.api.post(f"/items/{item.id}/stock", json={"delta": delta, "reason": "Count"})
        told = await sql.fetch("SELECT user_id, kind, title, body FROM notifications ORDER BY user_id")
        note = ("item.low_stock", "Chai is running low", "10 left, reorder level 10.")
        assert [tuple(row) for row in told] == [(admin.id, *note), (other.id, *note)]

    @pytest.mark.parametrize(
        ("body", "pointers"),
        [
            ({"delta": 0, "reason": "Nothing"}, ["/delta"]),
            ({"delta": MAX_STOCK + 1, "reason": "Much"}, ["/delta"]),
            ({"delta": -(10**30), "reason": "Much"}, ["/delta"]),
            ({"delta": 1.5, "reason": "Half"}, ["/delta"]),
            ({"delta": None, "reason": "None"}, ["/delta"]),
            ({"delta": 1}, ["/reason"]),
            ({"delta": 1, "reason": "  "}, ["/reason"]),
            ({"delta": 1, "reason": "a\0b"}, ["/reason"]),
            ({"delta": 1, "reason": "x" * 10_000}, ["/reason"]),
            ({"delta": 1, "reason": "Count", "quantity": 5}, ["/quantity"]),
            ({}, ["/delta", "/reason"]),
            ([], [""]),
        ],
    )
    async def test_refuses_bad_input(
        self, make: Make, sql: asyncpg.Connection, body: object, pointers: list[str]
    ) -> None:
        item, admin = await make.item(stock=5), await make.admin()
        answer = await admin.api.post(f"/items/{item.id}/stock", json=body)
        assert_problem(answer, 422, "invalid_input", *pointers)
        assert await stored(sql, item.id) == (5, 5, 1)

    async def test_an_unknown_item_is_404(self, make: Make) -> None:
        admin = await make.admin()
        answer = await admin.api.post(
            "/items/9223372036854775807/stock", json={"delta": 1, "reason": "Count"}
        )
        assert_problem(answer, 404, "not_found")

    async def test_is_for_administrators(self, api: Api, make: Make, sql: asyncpg.Connection) -> None:
        item, user = await make.item(stock=5), await make.user()
        body = {"delta": 1, "reason": "Mine"}
        assert_problem(await api.post(f"/items/{item.id}/stock", json=body), 401, "unauthenticated")
        assert_problem(await user.api.post(f"/items/{item.id}/stock", json=body), 403, "forbidden")
        assert await stored(sql, item.id) == (5, 5, 1)
