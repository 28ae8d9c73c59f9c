"""PUT /items/batch: items created or changed by their SKUs, all or none."""

from typing import Any

import asyncpg
import pytest

from service.catalogue.batch import repository
from service.catalogue.batch.schemas import ItemRow
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make
from tests.helpers.polling import Poller

CHAI = {"sku": "NW-1", "name": "Chai", "price": "18.00"}
CHANG = {"sku": "NW-2", "name": "Chang", "price": "19.00"}
#: What an upload writes to.
TABLES = ("items", "stock", "stock_movements", "events", "audit_log", "pending_changes", "sequenced_changes")


async def contents(sql: asyncpg.Connection) -> dict[str, list[str]]:
    """Every row of the tables that an upload writes to."""
    return {
        table: [row["row"] for row in await sql.fetch(f"SELECT t::text AS row FROM {table} t ORDER BY 1")]
        for table in TABLES
    }


async def events(sql: asyncpg.Connection) -> list[tuple[str, int]]:
    return [tuple(row) for row in await sql.fetch("SELECT type, object_id FROM events ORDER BY id")]


class TestUpsertItems:
    async def test_creates_what_is_not_there(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        batch = [{**CHAI, "description": "10 boxes", "category": "Tea", "reorder_level": 5}, CHANG]
        answer = await admin.api.put("/items/batch", json=batch)
        chai, chang = await sql.fetch("SELECT id FROM items ORDER BY sku")
        assert (answer.status_code, answer.json()) == (
            200,
            [
                {"id": chai["id"], "sku": "NW-1", "version": 1, "result": "created"},
                {"id": chang["id"], "sku": "NW-2", "version": 1, "result": "created"},
            ],
        )
        item = (await admin.api.get(f"/items/{chai['id']}")).json()
        named = ("name", "description", "category", "price", "availability")
        assert [item[name] for name in named] == ["Chai", "10 boxes", "Tea", "18.00", "out_of_stock"]
        stock = [
            tuple(row)
            for row in await sql.fetch("SELECT quantity, reorder_level FROM stock ORDER BY item_id")
        ]
        assert stock == [(0, 5), (0, 0)]
        assert await events(sql) == [("item.created", chai["id"]), ("item.created", chang["id"])]
        audited = await sql.fetch("SELECT action, target_id, actor_id FROM audit_log ORDER BY id")
        assert [tuple(row) for row in audited] == [
            ("item.created", chai["id"], admin.id),
            ("item.created", chang["id"], admin.id),
        ]

    async def test_changes_what_is_given_and_keeps_what_is_absent(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin = await make.admin()
        chai = await make.item(sku="NW-1", stock=5, description="10 boxes", category="Tea")
        body = [{"sku": "NW-1", "price": "18.50", "category": None}]
        answer = await admin.api.put("/items/batch", json=body)
        assert answer.json() == [{"id": chai.id, "sku": "NW-1", "version": 2, "result": "changed"}]
        item = (await admin.api.get(f"/items/{chai.id}")).json()
        assert item == {
            **chai.model_dump(mode="json"),
            "price": "18.50",
            "category": "",
            "version": 2,
            "updated_at": item["updated_at"],
        }
        assert item["updated_at"] > chai.model_dump(mode="json")["updated_at"]
        (event,) = await sql.fetch("SELECT type, object_id, data::text FROM events")
        assert (event["type"], event["object_id"]) == ("item.updated", chai.id)
        assert await sql.fetchval(
            "SELECT data = $1::text::jsonb - 'metadata' FROM events",
            (await admin.api.get(f"/items/{chai.id}")).text,
        )
        (entry,) = await sql.fetch(
            "SELECT action, target_id, data->'changed' AS changed FROM audit_log WHERE actor_id = $1",
            admin.id,
        )
        assert tuple(entry) == ("item.changed", chai.id, '["category", "price"]')

    async def test_the_answer_is_in_the_order_of_the_rows(self, make: Make) -> None:
        admin = await make.admin()
        chai = await make.item(sku="NW-1")
        other = await make.item(sku="NW-3", name="Aniseed Syrup", price="10.00")
        batch = [
            {"sku": "NW-3", "name": "Aniseed Syrup"},
            CHANG,
            {"sku": "NW-1", "price": "18.50"},
            {"sku": "NW-4", "name": "Tofu", "price": "23.25"},
        ]
        results = (await admin.api.put("/items/batch", json=batch)).json()
        assert [(each["sku"], each["version"], each["result"]) for each in results] == [
            ("NW-3", 1, "unchanged"),
            ("NW-2", 1, "created"),
            ("NW-1", 2, "changed"),
            ("NW-4", 1, "created"),
        ]
        assert (results[0]["id"], results[2]["id"]) == (other.id, chai.id)

    async def test_the_same_500_items_twice_change_nothing_the_second_time(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin = await make.admin()
        batch = [
            {
                "sku": f"NW-{number}",
                "name": f"Tea {number}",
                "description": f"{number} boxes",
                "category": "Tea",
                "price": f"{number + 1}.50",
                "reorder_level": number,
                "is_active": number % 2 == 0,
            }
            for number in range(500)
        ]
        first = await admin.api.put("/items/batch", json=batch)
        assert [each["result"] for each in first.json()] == ["created"] * 500
        poller = Poller(admin.api, "/items")
        assert [len(await poller.poll()) for _ in range(6)] == [100] * 5 + [0]
        before = await contents(sql)
        second = await admin.api.put("/items/batch", json=batch)
        assert second.json() == [{**each, "result": "unchanged"} for each in first.json()]
        assert await poller.poll() == []
        assert await contents(sql) == before

    async def test_an_item_changes_in_lists_that_are_polled(self, make: Make) -> None:
        admin = await make.admin()
        chai = await make.item(sku="NW-1")
        await make.item(sku="NW-2", name="Chang", price="19.00")
        poller = Poller(admin.api, "/items")
        assert len(await poller.poll()) == 2
        await admin.api.put("/items/batch", json=[{**CHAI, "price": "1.00"}, CHANG])
        assert [item["id"] for item in await poller.poll()] == [chai.id]

    async def test_a_cached_answer_is_not_given_any_more(self, api: Api, make: Make) -> None:
        admin, chai = await make.admin(), await make.item(sku="NW-1")
        assert (await api.get(f"/items/{chai.id}")).json()["price"] == "18.00"
        await admin.api.put("/items/batch", json=[{"sku": "NW-1", "price": "18.50"}])
        assert (await api.get(f"/items/{chai.id}")).json()["price"] == "18.50"

    async def test_what_is_withdrawn_stays_so_unless_it_is_put_back(self, make: Make) -> None:
        admin = await make.admin()
        chai = await make.item(sku="NW-1", is_active=False)
        for row, shown in (
            (CHAI, False),
            ({**CHAI, "price": "18.50"}, False),
            ({**CHAI, "is_active": True}, True),
        ):
            await admin.api.put("/items/batch", json=[row])
            assert (await admin.api.get(f"/items/{chai.id}")).json()["is_active"] is shown

    async def test_withdraws(self, make: Make, sql: asyncpg.Connection) -> None:
        admin, chai = await make.admin(), await make.item(sku="NW-1")
        answer = await admin.api.put("/items/batch", json=[{"sku": "NW-1", "is_active": False}])
        assert answer.json()[0]["result"] == "changed"
        assert await sql.fetchval("SELECT is_active FROM items WHERE id = $1", chai.id) is False
        assert (
            await sql.fetchval("SELECT action FROM audit_log WHERE actor_id = $1", admin.id)
            == "item.withdrawn"
        )
        assert await events(sql) == [("item.withdrawn", chai.id)]

    async def test_a_reorder_level_may_change_the_availability(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin = await make.admin()
        chai, chang = await make.item(sku="NW-1", stock=5), await make.item(sku="NW-2", stock=5)
        batch = [{"sku": "NW-1", "reorder_level": 5}, {"sku": "NW-2", "reorder_level": 4}]
        answer = await admin.api.put("/items/batch", json=batch)
        assert answer.json() == [
            {"id": chai.id, "sku": "NW-1", "version": 2, "result": "changed"},
            {"id": chang.id, "sku": "NW-2", "version": 1, "result": "changed"},
        ]
        shown = await sql.fetch(
            "SELECT availability, reorder_level FROM items JOIN stock ON id = item_id ORDER BY id"
        )
        assert [tuple(row) for row in shown] == [("low_stock", 5), ("in_stock", 4)]
        assert await events(sql) == [("item.updated", chai.id)]
        assert await sql.fetchval("SELECT count(*) FROM audit_log WHERE action = 'item.changed'") == 2

    async def test_a_key_replays_the_first_answer(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        key = {"Idempotency-Key": "upload-1"}
        first = await admin.api.put("/items/batch", json=[CHAI], headers=key)
        again = await admin.api.put("/items/batch", json=[CHAI], headers=key)
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
        other = await admin.api.put("/items/batch", json=[CHANG], headers=key)
        assert_problem(other, 422, "idempotency_key_reused")
        assert await sql.fetchval("SELECT count(*) FROM items") == 1

    def test_every_field_of_a_row_is_one_that_a_batch_changes(self) -> None:
        """What is added to a patch of an item must be added to the statement too."""
        apart = {"sku", "version", "stock", "reorder_level"}
        assert set(ItemRow.model_fields) - apart <= set(repository.CHANGEABLE)


class TestVersions:
    async def test_a_version_that_is_current_lets_the_row_pass(self, make: Make) -> None:
        admin, chai = await make.admin(), await make.item(sku="NW-1")
        for version, price in ((1, "18.50"), (2, "18.75"), (3, "18.75")):
            batch = [{"sku": "NW-1", "price": price, "version": version}]
            answer = await admin.api.put("/items/batch", json=batch)
            assert answer.status_code == 200
        assert answer.json() == [{"id": chai.id, "sku": "NW-1", "version": 3, "result": "unchanged"}]

    async def test_another_version_is_409_and_changes_nothing(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin = await make.admin()
        chai, _ = await make.item(sku="NW-1"), await make.item(sku="NW-2")
        before = await contents(sql)
        batch = [
            {"sku": "NW-2", "price": "2.00", "version": 1},
            {"sku": "NW-1", "price": "1.00", "version": 2},
            {**CHAI, "sku": "NW-3", "version": 1},
        ]
        problem = assert_problem(
            await admin.api.put("/items/batch", json=batch),
            409,
            "version_conflict",
            "/1/version",
            "/2/version",
        )
        assert problem["conflicts"] == [
            {"row": 1, "item_id": chai.id, "version": 1},
            {"row": 2, "item_id": None, "version": None},
        ]
        assert [fault["detail"] for fault in problem["errors"]] == [
            "The item has version 1: read it again, and apply your change to that version.",
            "No item has this SKU: leave `version` out to create it.",
        ]
        assert await contents(sql) == before


class TestRefusals:
    async def test_every_fault_of_every_row_is_named(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        batch: list[Any] = [
            {"sku": f"NW-{number}", "name": "", "price": "1.001", "colour": "red"} for number in range(1_000)
        ]
        answer = await admin.api.put("/items/batch", json=batch)
        names = ("name", "price", "colour")
        problem = assert_problem(
            answer, 422, "invalid_input", *[f"/{row}/{name}" for row in range(1_000) for name in names]
        )
        assert problem["detail"].endswith("; and 2997 more.")
        assert await sql.fetchval("SELECT count(*) FROM items") == 0

    async def test_faults_that_the_database_finds_come_together(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin = await make.admin()
        await make.item(sku="NW-1")
        before = await contents(sql)
        batch = [
            {"sku": "NW-1", "price": "1.00", "version": 7},
            {"sku": "NW-8"},
            {"sku": "NW-1", "price": "1.00"},
            {"sku": "NW-9", "name": "Tofu"},
            CHANG,
            CHANG,
        ]
        problem = assert_problem(
            await admin.api.put("/items/batch", json=batch),
            422,
            "invalid_input",
            *("/0/version", "/1/name", "/1/price", "/2/sku", "/3/price", "/5/sku"),
        )
        assert [fault["code"] for fault in problem["errors"]] == [
            "version_conflict", "missing", "missing", "duplicate", "missing", "duplicate",
        ]  # fmt: skip
        assert await contents(sql) == before

    async def test_a_fault_in_the_last_row_undoes_all(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        await make.item(sku="NW-0")
        before = await contents(sql)
        batch = [{"sku": f"NW-{number}", "name": "Tea", "price": "2.00"} for number in range(200)]
        answer = await admin.api.put("/items/batch", json=[*batch, {"sku": "NW-1000", "name": "Tea"}])
        assert_problem(answer, 422, "invalid_input", "/200/price")
        assert await contents(sql) == before

    @pytest.mark.parametrize(
        ("row", "pointer"),
        [
            ({"name": "Chai", "price": "18.00"}, "/0/sku"),
            ({**CHAI, "sku": None}, "/0/sku"),
            ({**CHAI, "name": None}, "/0/name"),
            ({**CHAI, "price": None}, "/0/price"),
            ({**CHAI, "price": "0"}, "/0/price"),
            ({**CHAI, "is_active": None}, "/0/is_active"),
            ({**CHAI, "reorder_level": None}, "/0/reorder_level"),
            ({**CHAI, "version": 0}, "/0/version"),
            ({**CHAI, "version": None}, "/0/version"),
            ({**CHAI, "version": "1"}, "/0/version"),
            ({**CHAI, "stock": 5}, "/0/stock"),
            ({**CHAI, "id": 5}, "/0/id"),
            ([], "/0"),
        ],
    )
    async def test_refuses_bad_input(
        self, make: Make, sql: asyncpg.Connection, row: Any, pointer: str
    ) -> None:
        admin = await make.admin()
        assert_problem(await admin.api.put("/items/batch", json=[row]), 422, "invalid_input", pointer)
        assert await sql.fetchval("SELECT count(*) FROM items") == 0

    @pytest.mark.parametrize("count", [0, 1_001])
    async def test_refuses_none_and_more_than_a_thousand(self, make: Make, count: int) -> None:
        admin = await make.admin()
        batch = [{**CHAI, "sku": f"NW-{number}"} for number in range(count)]
        assert_problem(await admin.api.put("/items/batch", json=batch), 422, "invalid_input", "")

    async def test_is_for_administrators_and_keys_with_the_scope(
        self, api: Api, make: Make, sql: asyncpg.Connection
    ) -> None:
        user, reader, writer = (
            await make.user(),
            await make.key("orders:write"),
            await make.key("catalogue:write"),
        )
        assert_problem(await api.put("/items/batch", json=[CHAI]), 401, "unauthenticated")
        assert_problem(await user.api.put("/items/batch", json=[CHAI]), 403, "forbidden")
        assert_problem(await reader.api.put("/items/batch", json=[CHAI]), 403, "insufficient_scope")
        assert await sql.fetchval("SELECT count(*) FROM items") == 0
        assert (await writer.api.put("/items/batch", json=[CHAI])).json()[0]["result"] == "created"


class TestManyNames:
    async def test_a_new_name_reads_none_of_the_other_known_words(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        """Or a batch that renames a thousand items would read all of them a thousand times."""
        chai = await make.item()
        await sql.execute(
            "INSERT INTO name_words (word, lexeme)"
            " SELECT 'word' || n, 'word' || n FROM generate_series(1, 5000) AS n"
        )
        await sql.execute("ANALYZE name_words")
        read = "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'name_words'"
        async with sql.transaction():
            before = await sql.fetchval(read)
            await sql.execute("UPDATE items SET name = 'Assam tea' WHERE id = $1", chai.id)
            await sql.execute("INSERT INTO items (sku, name, price) VALUES ('NW-9', 'Darjeeling', 9)")
            assert await sql.fetchval(read) == before
        words = await sql.fetch("SELECT word FROM name_words WHERE word NOT LIKE 'word%' ORDER BY word")
        assert [row["word"] for row in words] == ["assam", "chai", "darjeeling", "tea"]
