"""Metadata of items, orders, users and webhooks: what is taken, refused, merged and found alike for each."""

import json
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from service.platform.database.metadata import LIMITS
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make

TABLES = ("items", "orders", "users", "webhooks")
HOOK = {"url": "https://93.184.216.34/hooks", "events": ["*"]}
CONSTRAINTS = "SELECT count(*) FROM pg_constraint WHERE conname LIKE '%metadata_in_limits' AND convalidated"


@dataclass(frozen=True)
class Resource:
    """One of the kinds that have metadata, for an administrator."""

    table: str
    api: Api
    collection: str
    path: str
    new: dict[str, Any]

    async def create(self, metadata: Any) -> Any:
        email = {"email": "ana@shop.example"} if self.table == "users" else {}
        return await self.api.post(
            self.collection.removeprefix("/admin"), json={**self.new, **email, "metadata": metadata}
        )

    async def patch(self, metadata: Any, **headers: str) -> Any:
        return await self.api.patch(self.path, json={"metadata": metadata}, headers=headers)


@pytest.fixture(params=TABLES)
async def resource(request: pytest.FixtureRequest, make: Make) -> Resource:
    admin = await make.admin()
    if request.param == "items":
        item = await make.item()
        return Resource("items", admin.api, "/items", f"/items/{item.id}", {"name": "Chai", "price": "18.00"})
    if request.param == "orders":
        chai, maria = await make.item(stock=9), await make.user()
        order = {"product_id": chai.id, "quantity": 1, "user_id": maria.id}
        made = (await admin.api.post("/orders", json=order)).json()
        return Resource("orders", admin.api, "/orders", f"/orders/{made['id']}", order)
    if request.param == "users":
        new = {"password": "correct-horse-1", "full_name": "Ana"}
        return Resource("users", admin.api, "/admin/users", f"/admin/users/{(await make.user()).id}", new)
    hook = (await admin.api.post("/webhooks", json=HOOK)).json()
    return Resource("webhooks", admin.api, "/webhooks", f"/webhooks/{hook['id']}", HOOK)


async def stored(sql: asyncpg.Connection, resource: Resource) -> dict[str, str]:
    row_id = int(resource.path.rpartition("/")[2])
    text = await sql.fetchval(f"SELECT metadata FROM {resource.table} WHERE id = $1", row_id)
    found: dict[str, str] = json.loads(text)
    return found


class TestCreate:
    async def test_with_metadata(self, resource: Resource) -> None:
        metadata = {"channel": "marketplace", "Note.1:a_b-c": " two\nlines ", "empty": ""}
        answer = await resource.create(metadata)
        assert (answer.status_code, answer.json()["metadata"]) == (201, metadata)

    async def test_without_or_with_null(self, resource: Resource) -> None:
        answer = await resource.create(None)
        assert (answer.status_code, answer.json()["metadata"]) == (201, {})

    @pytest.mark.parametrize(
        ("metadata", "pointer", "code"),
        [
            ({"k": 7}, "/metadata/k", "wrong_type"),
            ({"k": None}, "/metadata/k", "wrong_type"),
            ({"k": {"a": "b"}}, "/metadata/k", "wrong_type"),
            ({"k": "x" * 501}, "/metadata/k", "too_long"),
            ({"k": "a\x00b"}, "/metadata/k", "forbidden_characters"),
            ({"a[b]": "x"}, "/metadata/a[b]", "wrong_format"),
            ({"a/b": "x"}, "/metadata/a~1b", "wrong_format"),
            ({"": "x"}, "/metadata/", "wrong_format"),
            ({"k" * 41: "x"}, f"/metadata/{'k' * 41}", "wrong_format"),
            ({f"k{n}": "x" for n in range(51)}, "/metadata", "too_long"),
            ({f"k{n}": "x" * 500 for n in range(17)}, "/metadata", "too_long"),
            (["x"], "/metadata", "wrong_type"),
            ("x", "/metadata", "wrong_type"),
        ],
    )
    async def test_a_refusal_names_the_field_and_the_key(
        self, resource: Resource, sql: asyncpg.Connection, metadata: Any, pointer: str, code: str
    ) -> None:
        before = await sql.fetchval(f"SELECT count(*) FROM {resource.table}")
        answer = await resource.create(metadata)
        problem = assert_problem(answer, 422, "invalid_input", pointer)
        assert [fault["code"] for fault in problem["errors"]] == [code]
        assert await sql.fetchval(f"SELECT count(*) FROM {resource.table}") == before

    async def test_as_much_as_there_may_be(self, resource: Resource) -> None:
        fifty = {f"{'k' * 38}{n:02}": "x" * 100 for n in range(50)}
        answer = await resource.create(fifty)
        assert (answer.status_code, answer.json()["metadata"]) == (201, fifty)
        assert (await resource.patch({"k": "🧀" * 500})).status_code == 200


class TestUpdate:
    async def test_is_a_merge_patch(self, resource: Resource, sql: asyncpg.Connection) -> None:
        for patch, expected in (
            ({"a": "1", "b": "2"}, {"a": "1", "b": "2"}),
            ({"b": "3", "c": "4"}, {"a": "1", "b": "3", "c": "4"}),
            ({"a": None, "unknown": None}, {"b": "3", "c": "4"}),
            ({}, {"b": "3", "c": "4"}),
            ({"c": ""}, {"b": "3", "c": ""}),
            (None, {}),
        ):
            answer = await resource.patch(patch)
            assert (answer.status_code, answer.json()["metadata"]) == (200, expected)
            assert (await stored(sql, resource)) == expected

    async def test_refuses_more_than_there_may_be_together(
        self, resource: Resource, sql: asyncpg.Connection
    ) -> None:
        was = {f"k{n}": "x" for n in range(50)}
        assert (await resource.patch(was)).status_code == 200
        assert_problem(await resource.patch({"one": "more"}), 422, "invalid_input", "/metadata")
        long = {f"k{n}": "x" * 500 for n in range(17)}
        assert_problem(await resource.patch(long), 422, "invalid_input", "/metadata")
        assert_problem(await resource.patch({"k1": 1}), 422, "invalid_input", "/metadata/k1")
        assert await stored(sql, resource) == was
        assert (await resource.patch({"one": "more", "k0": None})).status_code == 200

    async def test_counts_a_version_and_only_for_a_change(
        self, resource: Resource, sql: asyncpg.Connection
    ) -> None:
        if resource.table == "webhooks":  # they have none
            return
        row_id = int(resource.path.rpartition("/")[2])
        query = f"SELECT version FROM {resource.table} WHERE id = $1"
        before = await sql.fetchval(query, row_id)
        tag = (await resource.patch({"a": "1"})).headers["etag"]
        assert await sql.fetchval(query, row_id) == before + 1
        answer = await resource.patch({"a": "1"}, **{"If-Match": tag})
        assert (answer.status_code, answer.headers["etag"]) == (200, tag)
        assert await sql.fetchval(query, row_id) == before + 1
        assert (await resource.patch({"a": "2"}, **{"If-Match": tag})).status_code == 200
        stale = await resource.patch({"a": "3"}, **{"If-Match": tag})
        assert_problem(stale, 412, "precondition_failed")
        assert await stored(sql, resource) == {"a": "2"}


class TestList:
    async def test_finds_equal_values(self, resource: Resource) -> None:
        await resource.patch({"channel": "Store", "note": "a & b", "empty": ""})
        other = await resource.create({"channel": "store"})
        assert other.status_code == 201
        changed_id, other_id = int(resource.path.rpartition("/")[2]), other.json()["id"]
        for query, ids in (
            ({"metadata[channel]": "Store"}, [changed_id]),
            ({"metadata[channel]": "store"}, [other_id]),
            ({"metadata[channel]": "Stor"}, []),
            ({"metadata[channel]": "Store", "metadata[note]": "a & b"}, [changed_id]),
            ({"metadata[channel]": "store", "metadata[note]": "a & b"}, []),
            ({"metadata[empty]": ""}, [changed_id]),
            ({"metadata[Channel]": "Store"}, []),
        ):
            answer = await resource.api.get(resource.collection, params=query)
            assert (answer.status_code, [each["id"] for each in answer.json()]) == (200, ids), query
            assert resource.table == "webhooks" or ids == [] or answer.json()[0]["metadata"]

    @pytest.mark.parametrize(
        ("query", "pointer", "code"),
        [
            ({"metadata[a b]": "x"}, "?metadata[a b]", "wrong_format"),
            ({"metadata[]": "x"}, "?metadata[]", "wrong_format"),
            ({"metadata[k]": "x" * 501}, "?metadata[k]", "too_long"),
            ({"metadata[k]": "a\x00b"}, "?metadata[k]", "forbidden_characters"),
            ({f"metadata[k{n}]": "x" for n in range(21)}, "?metadata", "too_long"),
            ({"metadata": "x"}, "?metadata", "unknown_parameter"),
        ],
    )
    async def test_a_refusal_names_the_key(
        self, resource: Resource, query: dict[str, str], pointer: str, code: str
    ) -> None:
        answer = await resource.api.get(resource.collection, params=query)
        problem = assert_problem(answer, 422, "invalid_input", pointer)
        assert [fault["code"] for fault in problem["errors"]] == [code]


class TestConstraint:
    async def test_is_in_force_on_each_table(self, sql: asyncpg.Connection) -> None:
        assert await sql.fetchval(CONSTRAINTS) == len(TABLES)

    @pytest.mark.parametrize(
        ("metadata", "good"),
        [
            ({}, True),
            ({"k": "x" * 500}, True),
            ({"k": "\n" * 500}, True),
            ({"k": "🧀" * 500}, True),
            ({f"k{n}": "" for n in range(50)}, True),
            ({"k": "x" * 501}, False),
            ({"k": "\n" * 501}, False),
            ({f"k{n}": "" for n in range(51)}, False),
            ({f"k{n}": "x" * 500 for n in range(17)}, False),
            ({"k": 7}, False),
            ({"k": None}, False),
            ({"k": ["x"]}, False),
            ({"k": {"a": "x"}}, False),
            (["x"], False),
        ],
    )
    async def test_holds_the_limits(self, sql: asyncpg.Connection, metadata: Any, good: bool) -> None:
        text = json.dumps(metadata, ensure_ascii=False)
        assert await sql.fetchval(f"SELECT {LIMITS} FROM (SELECT $1::text AS metadata) AS row", text) is good
