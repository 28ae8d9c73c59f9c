"""PUT /stock/batch: stock counted anew or moved, of all items or of none."""

from typing import Any

import asyncpg
import pytest

from service.catalogue.schemas import MAX_STOCK
from tests.catalogue.test_items_batch import contents
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make

KEY = {"Idempotency-Key": "delivery-2026-114"}


async def levels(sql: asyncpg.Connection) -> list[tuple[int, int]]:
    """Quantity and reorder level of each item."""
    return [
        tuple(row) for row in await sql.fetch("SELECT quantity, reorder_level FROM stock ORDER BY item_id")
    ]


async def ledger(sql: asyncpg.Connection) -> list[tuple[int, str, int, str]]:
    """What was recorded beside the stock that items began with."""
    found = await sql.fetch(
        "SELECT item_id, kind, delta, reason FROM stock_movements WHERE kind <> 'initial' ORDER BY item_id"
    )
    return [tuple(row) for row in found]


class TestUpdateStock:
    async def test_sets_and_moves_stock_by_sku_or_id(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        chai, chang = (
            await make.item(sku="NW-1", stock=5),
            await make.item(sku="NW-2", stock=5, reorder_level=2),
        )
        syrup, tofu = await make.item(sku="NW-3"), await make.item(sku="NW-4", stock=9)
        batch = [
            {"item_id": tofu.id, "stock": 9},
            {"sku": "NW-2", "delta": -3, "reason": "Broken"},
            {"sku": "NW-1", "stock": 39, "reason": "Count"},
            {"item_id": syrup.id, "delta": 7, "reorder_level": 10},
        ]
        answer = await admin.api.put("/stock/batch", json=batch, headers=KEY)
        assert (answer.status_code, answer.json()) == (
            200,
            [
                {"item_id": tofu.id, "sku": "NW-4", "version": 1, "quantity": 9, "reorder_level": 0,
                 "result": "unchanged"},
                {"item_id": chang.id, "sku": "NW-2", "version": 2, "quantity": 2, "reorder_level": 2,
                 "result": "changed"},
                {"item_id": chai.id, "sku": "NW-1", "version": 1, "quantity": 39, "reorder_level": 0,
                 "result": "changed"},
                {"item_id": syrup.id, "sku": "NW-3", "version": 2, "quantity": 7, "reorder_level": 10,
                 "result": "changed"},
            ],
        )  # fmt: skip
        assert await levels(sql) == [(39, 0), (2, 2), (7, 10), (9, 0)]
        assert await ledger(sql) == [
            (chai.id, "adjustment", 34, "Count"),
            (chang.id, "adjustment", -3, "Broken"),
            (syrup.id, "adjustment", 7, "Batch"),
        ]
        shown = await sql.fetch("SELECT availability, version FROM items ORDER BY id")
        assert [tuple(row) for row in shown] == [
            ("in_stock", 1), ("low_stock", 2), ("low_stock", 2), ("in_stock", 1),
        ]  # fmt: skip
        audited = await sql.fetch(
            "SELECT action, target_id, data::text FROM audit_log WHERE actor_id = $1 ORDER BY id", admin.id
        )
        assert [tuple(row) for row in audited] == [
            ("stock.adjusted", chang.id, '{"after": {"stock": 2}, "before": {"stock": 5}}'),
            ("stock.adjusted", chai.id, '{"after": {"stock": 39}, "before": {"stock": 5}}'),
            (
                "stock.adjusted",
                syrup.id,
                '{"after": {"stock": 7, "reorder_level": 10}, "before": {"stock": 0, "reorder_level": 0}}',
            ),
        ]

    async def test_the_same_500_counts_twice_change_nothing_the_second_time(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin = await make.admin()
        items = [{"sku": f"NW-{number}", "name": "Tea", "price": "1.00"} for number in range(500)]
        await admin.api.put("/items/batch", json=items)
        batch = [
            {"sku": f"NW-{number}", "stock": number, "reorder_level": 20, "reason": "Count"}
            for number in range(500)
        ]
        first = (await admin.api.put("/stock/batch", json=batch)).json()
        assert [each["result"] for each in first] == ["changed"] * 500
        before = await contents(sql)
        second = (await admin.api.put("/stock/batch", json=batch)).json()
        assert second == [{**each, "result": "unchanged"} for each in first]
        assert await contents(sql) == before

    async def test_notifies_as_a_single_change_does(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        chai, chang = (
            await make.item(sku="NW-1", stock=12, reorder_level=10),
            await make.item(sku="NW-2", stock=9),
        )
        batch = [
            {"sku": "NW-1", "stock": 10},
            {"sku": "NW-2", "stock": 3, "reorder_level": 4},
        ]
        for _ in range(2):
            await admin.api.put("/stock/batch", json=batch)
        told = await sql.fetch(
            "SELECT user_id, kind, body, data->>'item_id' AS item FROM notifications ORDER BY id"
        )
        assert [tuple(row) for row in told] == [
            (admin.id, "item.low_stock", "10 left, reorder level 10.", str(chai.id)),
            (admin.id, "item.low_stock", "3 left, reorder level 4.", str(chang.id)),
        ]
        raised = await sql.fetch(
            "SELECT type, object_id, data->>'quantity', data->>'reorder_level', data->>'version'"
            " FROM events ORDER BY id"
        )
        assert [tuple(row) for row in raised] == [
            ("item.low_stock", chai.id, "10", "10", "2"),
            ("item.low_stock", chang.id, "3", "4", "2"),
            ("item.updated", chang.id, None, None, "2"),
        ]
        # Within the hour it is not notified of again.
        await admin.api.put("/stock/batch", json=[{"sku": "NW-1", "stock": 50}])
        await admin.api.put("/stock/batch", json=[{"sku": "NW-1", "stock": 9}])
        assert await sql.fetchval("SELECT count(*) FROM notifications") == 2

    async def test_a_reorder_level_alone_is_no_movement(self, make: Make, sql: asyncpg.Connection) -> None:
        admin, chai = await make.admin(), await make.item(sku="NW-1", stock=5)
        answer = await admin.api.put("/stock/batch", json=[{"sku": "NW-1", "reorder_level": 5}])
        assert (answer.json()[0]["result"], answer.json()[0]["version"]) == ("changed", 2)
        assert (await levels(sql), await ledger(sql)) == ([(5, 5)], [])
        assert (await admin.api.get(f"/items/{chai.id}")).json()["availability"] == "low_stock"

    async def test_of_a_withdrawn_item(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        await make.item(sku="NW-1", is_active=False)
        assert (await admin.api.put("/stock/batch", json=[{"sku": "NW-1", "stock": 4}])).status_code == 200
        assert await levels(sql) == [(4, 0)]

    async def test_a_key_replays_the_first_answer(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        await make.item(sku="NW-1")
        batch = [{"sku": "NW-1", "delta": 24}]
        first = await admin.api.put("/stock/batch", json=batch, headers=KEY)
        again = await admin.api.put("/stock/batch", json=batch, headers=KEY)
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
        assert await levels(sql) == [(24, 0)]


class TestRefusals:
    async def test_a_delta_needs_a_key(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        await make.item(sku="NW-1", stock=5)
        batch = [{"sku": "NW-1", "delta": 1}]
        answer = await admin.api.put("/stock/batch", json=batch)
        problem = assert_problem(answer, 400, "idempotency_key_required")
        assert "Idempotency-Key" in problem["detail"]
        assert await levels(sql) == [(5, 0)]

    async def test_stock_never_falls_below_none(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        chai, chang = await make.item(sku="NW-1", stock=5), await make.item(sku="NW-2", name="Chang", stock=1)
        batch = [
            {"sku": "NW-1", "delta": -6},
            {"item_id": (await make.item()).id, "stock": 4},
            {"item_id": chang.id, "delta": -2},
        ]
        before = await contents(sql)
        answer = await admin.api.put("/stock/batch", json=batch, headers=KEY)
        problem = assert_problem(answer, 409, "out_of_stock", "/0/delta", "/2/delta")
        assert problem["products"] == [
            {"product_id": chai.id, "name": "Chai", "requested": 6, "left": 5},
            {"product_id": chang.id, "name": "Chang", "requested": 2, "left": 1},
        ]
        assert await contents(sql) == before
        assert (await admin.api.put("/stock/batch", json=[{"sku": "NW-1", "delta": -5}], headers=KEY)).json()[
            0
        ]["quantity"] == 0

    async def test_every_fault_of_every_row_is_named(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        chai = await make.item(sku="NW-1", stock=5)
        chang = await make.item(sku="NW-2", stock=5)
        batch: list[dict[str, Any]] = [
            {"stock": 1},
            {"sku": "NW-1", "item_id": chai.id, "stock": 1},
            {"sku": "NW-1", "stock": 1, "delta": 1},
            {"sku": "NW-1"},
            {"sku": "NW-9", "stock": 1},
            {"item_id": 2**63 - 1, "stock": 1},
            {"sku": "NW-1", "delta": -9},
            {"item_id": chai.id, "stock": 1},
            {"sku": "NW-2", "delta": MAX_STOCK},
            {"item_id": chang.id, "stock": 1},
        ]
        before = await contents(sql)
        answer = await admin.api.put("/stock/batch", json=batch, headers=KEY)
        problem = assert_problem(
            answer, 422, "invalid_input",
            "/0/sku", "/1/item_id", "/2/delta", "/3/stock", "/4/sku", "/5/item_id", "/6/delta", "/7/item_id",
            "/8/delta", "/9/item_id",
        )  # fmt: skip
        assert [fault["code"] for fault in problem["errors"]] == [
            "missing", "contradiction", "contradiction", "missing", "unknown_product", "unknown_product",
            "out_of_stock", "duplicate", "too_large", "duplicate",
        ]  # fmt: skip
        assert await contents(sql) == before

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"sku": None}, "/0/sku"),
            ({"item_id": 0}, "/0/item_id"),
            ({"stock": -1}, "/0/stock"),
            ({"stock": MAX_STOCK + 1}, "/0/stock"),
            ({"stock": None}, "/0/stock"),
            ({"stock": 1.5}, "/0/stock"),
            ({"delta": 0}, "/0/delta"),
            ({"delta": MAX_STOCK + 1}, "/0/delta"),
            ({"reorder_level": -1}, "/0/reorder_level"),
            ({"reorder_level": None}, "/0/reorder_level"),
            ({"reason": ""}, "/0/reason"),
            ({"reason": None}, "/0/reason"),
            ({"quantity": 5}, "/0/quantity"),
        ],
    )
    async def test_refuses_bad_input(
        self, make: Make, sql: asyncpg.Connection, change: dict[str, Any], pointer: str
    ) -> None:
        admin = await make.admin()
        await make.item(sku="NW-1", stock=5)
        batch = [{"sku": "NW-1", "stock": 4, **change}]
        assert_problem(await admin.api.put("/stock/batch", json=batch), 422, "invalid_input", pointer)
        assert await levels(sql) == [(5, 0)]

    async def test_is_for_administrators_and_keys_with_the_scope(
        self, api: Api, make: Make, sql: asyncpg.Connection
    ) -> None:
        user, reader, writer = (
            await make.user(),
            await make.key("orders:write"),
            await make.key("catalogue:write"),
        )
        await make.item(sku="NW-1", stock=5)
        batch = [{"sku": "NW-1", "stock": 4}]
        assert_problem(await api.put("/stock/batch", json=batch), 401, "unauthenticated")
        assert_problem(await user.api.put("/stock/batch", json=batch), 403, "forbidden")
        assert_problem(await reader.api.put("/stock/batch", json=batch), 403, "insufficient_scope")
        assert await levels(sql) == [(5, 0)]
        assert (await writer.api.put("/stock/batch", json=batch)).status_code == 200
