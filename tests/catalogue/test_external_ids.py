"""The shop's own ids of items, which only staff and API keys see."""

from typing import Any

import asyncpg
import pytest

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make

STAFF_MEMBERS = ("external_id", "metadata")
CHAI = {"name": "Chai", "price": "18.00"}


async def items(sql: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await sql.fetch("SELECT id, sku, external_id, version FROM items ORDER BY id")
    return [tuple(row) for row in rows]


class TestCreateItem:
    async def test_has_one(self, make: Make, api: Api, sql: asyncpg.Connection) -> None:
        admin, key = await make.admin(), await make.key("catalogue:write")
        for number, client in enumerate((admin.api, key.api)):
            answer = await client.post("/items", json={**CHAI, "external_id": f"E-{number}"})
            item = answer.json()
            assert (answer.status_code, item["external_id"]) == (201, f"E-{number}")
            path = f"/items/{item['id']}"
            got = await client.get(path)
            assert (got.json(), got.headers["etag"]) == (item, answer.headers["etag"])
            assert (await client.get("/items")).json()[-1] == item
            # From the database, and from the response cache.
            for _ in range(2):
                public = await api.get(path)
                assert public.json() == {name: item[name] for name in item if name not in STAFF_MEMBERS}
                assert public.headers["etag"] != got.headers["etag"]
                assert "external_id" not in (await api.get("/items")).text
        assert [row[2] for row in await items(sql)] == ["E-0", "E-1"]

    async def test_one_that_is_taken(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        chai = (await admin.api.post("/items", json={**CHAI, "external_id": "E-1"})).json()
        before = await items(sql)
        answer = await admin.api.post("/items", json={**CHAI, "external_id": "E-1"})
        problem = assert_problem(answer, 409, "external_id_taken", "/external_id")
        assert problem["id"] == chai["id"]
        answer = await admin.api.post("/items", json={**CHAI, "external_id": "E-2", "sku": chai["sku"]})
        assert_problem(answer, 409, "sku_taken", "/sku")
        assert await items(sql) == before
        assert (await admin.api.post("/items", json={**CHAI, "external_id": "e-1"})).status_code == 201


class TestCreateItems:
    async def test_one_that_is_taken(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        chai = (await admin.api.post("/items", json={**CHAI, "external_id": "E-1"})).json()
        before = await items(sql)
        batch = [CHAI, {**CHAI, "external_id": "E-2"}, {**CHAI, "external_id": "E-1"}]
        answer = await admin.api.post("/items/batch", json=batch)
        problem = assert_problem(answer, 409, "external_id_taken", "/2/external_id")
        assert problem["id"] == chai["id"]
        assert await items(sql) == before

    async def test_one_that_is_repeated(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        batch = [{**CHAI, "external_id": each} for each in ("E-1", "e-1", "E-1", None, None, "E-1")]
        answer = await admin.api.post("/items/batch", json=batch)
        problem = assert_problem(answer, 422, "invalid_input", "/2/external_id", "/5/external_id")
        assert {fault["code"] for fault in problem["errors"]} == {"duplicate"}
        assert await items(sql) == []


class TestUpdateItem:
    async def test_sets_and_removes_it(self, make: Make, api: Api, sql: asyncpg.Connection) -> None:
        admin, chai = await make.admin(), await make.item()
        for version, external_id in ((2, "E-1"), (2, "E-1"), (3, "E-2"), (4, None)):
            answer = await admin.api.patch(f"/items/{chai.id}", json={"external_id": external_id})
            assert (answer.status_code, answer.json()["external_id"]) == (200, external_id)
            assert await items(sql) == [(chai.id, chai.sku, external_id, version)]
            assert "external_id" not in (await api.get(f"/items/{chai.id}")).json()

    async def test_one_that_is_taken(self, make: Make, sql: asyncpg.Connection) -> None:
        admin, chai, chang = await make.admin(), await make.item(external_id="E-1"), await make.item()
        before = await items(sql)
        answer = await admin.api.patch(f"/items/{chang.id}", json={"external_id": "E-1", "name": "Chang"})
        problem = assert_problem(answer, 409, "external_id_taken", "/external_id")
        assert problem["id"] == chai.id
        answer = await admin.api.patch(f"/items/{chang.id}", json={"external_id": "E-2", "sku": chai.sku})
        assert_problem(answer, 409, "sku_taken", "/sku")
        assert await items(sql) == before


class TestListItems:
    async def test_by_external_id(self, make: Make) -> None:
        admin, key = await make.admin(), await make.key("catalogue:write")
        chai, _ = await make.item(external_id="E-1", is_active=False), await make.item(external_id="E-2")
        for client in (admin.api, key.api):
            found = (await client.get("/items?external_id=E-1")).json()
            assert [(item["id"], item["external_id"]) for item in found] == [(chai.id, "E-1")]
            assert (await client.get("/items?external_id=e-1")).json() == []
            found = (await client.get("/items?external_id=E-2&search=chai")).json()
            assert [item["external_id"] for item in found] == ["E-2"]

    async def test_is_not_for_the_public(self, make: Make, api: Api) -> None:
        await make.item(external_id="E-1")
        maria, reader = await make.user(), await make.key("orders:read")
        for query in ("external_id=E-1", "external_id=E-1&limit=x"):
            assert_problem(await api.get(f"/items?{query}"), 401, "unauthenticated")
            assert_problem(await maria.api.get(f"/items?{query}"), 403, "forbidden")
            assert_problem(await reader.api.get(f"/items?{query}"), 403, "insufficient_scope")

    @pytest.mark.parametrize("query", ["search=chai", "updated_since=1970-01-01T00:00:00Z", "sort=-price"])
    async def test_staff_alone_sees_it_in_every_list(self, make: Make, api: Api, query: str) -> None:
        admin = await make.admin()
        await make.item(external_id="E-1")
        for _ in range(2):
            [item] = (await admin.api.get(f"/items?{query}")).json()
            [public] = (await api.get(f"/items?{query}")).json()
            assert item == {**public, "external_id": "E-1", "metadata": {}}


class TestUpsertItems:
    async def test_creates_changes_and_removes_them(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        chai, chang = await make.item(sku="A", external_id="E-1"), await make.item(sku="B", external_id="E-2")
        batch = [
            {"sku": "A", "external_id": "E-1"},
            {"sku": "B", "external_id": "E-3"},
            {"sku": "C", "external_id": "E-4", **CHAI},
        ]
        answer = await admin.api.put("/items/batch", json=batch)
        assert [row["result"] for row in answer.json()] == ["unchanged", "changed", "created"]
        new_id = answer.json()[2]["id"]
        assert await items(sql) == [
            (chai.id, "A", "E-1", 1), (chang.id, "B", "E-3", 2), (new_id, "C", "E-4", 1)
        ]  # fmt: skip
        answer = await admin.api.put("/items/batch", json=[{"sku": "A", "external_id": None}, {"sku": "B"}])
        assert [row["result"] for row in answer.json()] == ["changed", "unchanged"]
        assert [row[2] for row in await items(sql)] == [None, "E-3", "E-4"]

    async def test_one_that_is_taken(self, make: Make, sql: asyncpg.Connection) -> None:
        admin, chai = await make.admin(), await make.item(sku="A", external_id="E-1")
        await make.item(sku="B")
        before = await items(sql)
        batch = [
            {"sku": "B", "external_id": "E-1"}, {"sku": "C", "external_id": "E-1", **CHAI}
        ]  # fmt: skip
        answer = await admin.api.put("/items/batch", json=batch[:1])
        problem = assert_problem(answer, 409, "external_id_taken", "/0/external_id")
        assert problem["id"] == chai.id
        answer = await admin.api.put("/items/batch", json=batch[1:])
        assert_problem(answer, 409, "external_id_taken", "/0/external_id")
        # Together they are repeated too, which another request cannot mend.
        answer = await admin.api.put("/items/batch", json=batch)
        pointers = ("/1/external_id", "/0/external_id", "/1/external_id")
        problem = assert_problem(answer, 422, "invalid_input", *pointers)
        assert [fault["code"] for fault in problem["errors"]] == [
            "duplicate", "external_id_taken", "external_id_taken"
        ]  # fmt: skip
        assert await items(sql) == before
