"""What a product page shows beside name and price: currency, images and attributes."""

import json
from typing import Any

import asyncpg
import pytest

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make
from tests.helpers.metadata import in_events

CHAI = {"name": "Chai", "price": "18.00"}
FRONT = {"url": "https://img.shop.example/chai.jpg", "alt": "A box of Chai"}
BACK = {"url": "https://img.shop.example/chai-back.jpg?v=2&w=100", "alt": ""}
PAGE: dict[str, Any] = {
    "images": [FRONT, BACK],
    "attributes": {"color": "red", "weight_kg": 0.75, "units": 10, "organic": True},
}

BAD_IMAGES: list[tuple[Any, str]] = [
    ({}, ""),
    ([FRONT] * 21, ""),
    ([{}], "/0/url"),
    ([{**FRONT, "width": 100}], "/0/width"),
    ([{**FRONT, "alt": "x" * 201}], "/0/alt"),
    ([{**FRONT, "alt": "a\nb"}], "/0/alt"),
    ([{**FRONT, "alt": None}], "/0/alt"),
    *(
        ([FRONT, {"url": url}], "/1/url")
        for url in (
            "",
            "chai.jpg",
            "//img.shop.example/chai.jpg",
            "http://img.shop.example/chai.jpg",
            "HTTPS://img.shop.example/chai.jpg",
            "data:image/png;base64,AAAA",
            "javascript:alert(1)",
            "https://",
            "https:///chai.jpg",
            "https://[2001:db8::1]/",
            "https://[0]/",
            "https://user@img.shop.example/",
            "https://user:secret@img.shop.example/",
            "https://img.shop.example/#front",
            "https://img.shop.example/a b",
            "https://img.shop.example/ä",
            "https://img.shop.example/%zz",
            'https://img.shop.example/"onerror=',
            "https://img.shop.example/\n",
            "https://img.shop.example:0/",
            "https://img.shop.example/" + "x" * 2_000,
        )
    ),
]
BAD_ATTRIBUTES: list[tuple[Any, str]] = [
    ([], ""),
    ({f"name{number}": 1 for number in range(51)}, ""),
    *(({name: 1}, f"/{name}") for name in ("", "Color", "1st", "_x", "a-b", "ä", "x" * 51, "a.b", "a\n")),
    *(
        ({"size": value}, "/size")
        for value in list[Any](
            (
                "",
                " ",
                "a\nb",
                "x" * 201,
                [],
                {},
                1_000_000_000,
                -1_000_000_000,
                10**30,
                0.0000001,
            )
        )
    ),
]


async def rows(sql: asyncpg.Connection) -> list[tuple[str, str]]:
    return [tuple(row) for row in await sql.fetch("SELECT images, attributes FROM items")]


class TestCreateItem:
    async def test_shows_them_as_they_were_given(self, api: Api, make: Make) -> None:
        admin = await make.admin()
        answer = await admin.api.post("/items", json={**CHAI, **PAGE})
        item = answer.json()
        assert {name: item[name] for name in ("currency", *PAGE)} == {"currency": "USD", **PAGE}
        assert list(item["attributes"]) == list(PAGE["attributes"])
        assert (await admin.api.get(f"/items/{item['id']}")).content == answer.content
        public = {name: value for name, value in item.items() if name not in ("external_id", "metadata")}
        assert (await api.get(f"/items/{item['id']}")).json() == public
        assert (await api.get("/items")).json() == [public]

    async def test_null_is_none(self, make: Make) -> None:
        admin = await make.admin()
        item = (await admin.api.post("/items", json={**CHAI, "images": None, "attributes": None})).json()
        assert (item["images"], item["attributes"]) == ([], {})

    @pytest.mark.parametrize(
        ("given", "shown"),
        [
            ("42.0", "42"),
            ("-0.0", "0"),
            ("-0", "0"),
            ("1.50", "1.5"),
            ("0.100000", "0.1"),
            ("1e2", "100"),
            ("0.000001", "1e-6"),
            ("999999999.999999", "999999999.999999"),
            ("-999999999", "-999999999"),
            ('" red "', '"red"'),
            ('"42"', '"42"'),
            ("false", "false"),
        ],
    )
    async def test_a_value_has_one_form(
        self, make: Make, sql: asyncpg.Connection, given: str, shown: str
    ) -> None:
        admin = await make.admin()
        body = f'{{"name": "Chai", "price": "18.00", "attributes": {{"size": {given}}}}}'
        answer = await admin.api.post("/items", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 201, answer.text
        assert f'"attributes":{{"size":{shown}}}'.encode() in answer.content
        assert await rows(sql) == [("[]", f'{{"size":{shown}}}')]

    @pytest.mark.parametrize(
        "digits", ["1.0000000000000000001", "0.3333333333333333333", "999999999.9999999999", "NaN", "1e400"]
    )
    async def test_refuses_a_number_that_it_would_round(
        self, make: Make, sql: asyncpg.Connection, digits: str
    ) -> None:
        admin = await make.admin()
        body = f'{{"name": "Chai", "price": "18.00", "attributes": {{"size": {digits}}}}}'
        answer = await admin.api.post("/items", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), answer.text
        assert await rows(sql) == []

    @pytest.mark.parametrize(("images", "pointer"), BAD_IMAGES)
    async def test_refuses_bad_images(
        self, make: Make, sql: asyncpg.Connection, images: Any, pointer: str
    ) -> None:
        admin = await make.admin()
        answer = await admin.api.post("/items", json={**CHAI, "images": images})
        assert_problem(answer, 422, "invalid_input", f"/images{pointer}")
        assert await rows(sql) == []

    @pytest.mark.parametrize(("attributes", "pointer"), BAD_ATTRIBUTES)
    async def test_refuses_bad_attributes(
        self, make: Make, sql: asyncpg.Connection, attributes: Any, pointer: str
    ) -> None:
        admin = await make.admin()
        for item_id, method in ((None, "POST"), ((await make.item()).id, "PATCH")):
            path = "/items" if item_id is None else f"/items/{item_id}"
            body = {"attributes": attributes} | (CHAI if item_id is None else {})
            answer = await admin.api.request(method, path, json=body)
            assert_problem(answer, 422, "invalid_input", f"/attributes{pointer}")
        assert await rows(sql) == [("[]", "{}")]

    async def test_twenty_images_and_fifty_attributes(self, api: Api, make: Make) -> None:
        admin = await make.admin()
        images = [{"url": "https://img.shop.example/".ljust(2_000, "x"), "alt": "茶" * 200}] * 20
        attributes = {f"n{number}".ljust(50, "x"): "茶" * 200 for number in range(50)}
        answer = await admin.api.post("/items", json={**CHAI, "images": images, "attributes": attributes})
        assert answer.status_code == 201, answer.text
        item = (await api.get(f"/items/{answer.json()['id']}")).json()
        assert (item["images"], item["attributes"]) == (images, attributes)

    async def test_many_at_once(self, make: Make) -> None:
        admin = await make.admin()
        answer = await admin.api.post("/items/batch", json=[{**CHAI, **PAGE}, CHAI])
        assert [(item["images"], item["attributes"]) for item in answer.json()] == [
            (PAGE["images"], PAGE["attributes"]),
            ([], {}),
        ]


class TestUpdateItem:
    @pytest.mark.parametrize(
        ("patch", "changed"),
        [
            ({"images": [BACK]}, {"images": [BACK]}),
            ({"images": [BACK, FRONT]}, {"images": [BACK, FRONT]}),
            ({"images": []}, {"images": []}),
            ({"images": None}, {"images": []}),
            (
                {"attributes": {"color": "blue", "units": None, "new": "x", "absent": None}},
                {"attributes": {"color": "blue", "weight_kg": 0.75, "organic": True, "new": "x"}},
            ),
            ({"attributes": None}, {"attributes": {}}),
        ],
    )
    async def test_replaces_images_and_merges_attributes(
        self, make: Make, sql: asyncpg.Connection, patch: dict[str, Any], changed: dict[str, Any]
    ) -> None:
        admin = await make.admin()
        made = await admin.api.post("/items", json={**CHAI, **PAGE})
        before = made.json()
        answer = await admin.api.patch(
            f"/items/{before['id']}", json=patch, headers={"If-Match": made.headers["etag"]}
        )
        after = answer.json()
        assert after == {**before, **changed, "version": 2, "updated_at": after["updated_at"]}
        assert answer.headers["etag"] != made.headers["etag"]
        shown = await admin.api.get(f"/items/{before['id']}")
        assert (shown.json(), shown.headers["etag"]) == (after, answer.headers["etag"])
        event = await sql.fetchval("SELECT data FROM events WHERE type = 'item.updated'")
        assert json.loads(event) == in_events(after)
        data = await sql.fetchval("SELECT data FROM audit_log WHERE action = 'item.changed'")
        assert json.loads(data) == {"before": {}, "after": {}, "changed": list(patch)}

    @pytest.mark.parametrize(
        "patch",
        [
            {"images": [FRONT, BACK]},
            {"attributes": {}},
            {"attributes": {"weight_kg": 0.750, "absent": None}},
            {"attributes": {"organic": True, "color": "red"}},
        ],
    )
    async def test_what_is_there_already_is_no_change(
        self, make: Make, sql: asyncpg.Connection, patch: dict[str, Any]
    ) -> None:
        admin = await make.admin()
        before = (await admin.api.post("/items", json={**CHAI, **PAGE})).json()
        answer = await admin.api.patch(f"/items/{before['id']}", json=patch)
        assert answer.json() == before
        assert await sql.fetchval("SELECT count(*) FROM events WHERE type = 'item.updated'") == 0

    async def test_more_than_fifty_attributes_together_are_refused(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin = await make.admin()
        attributes = {f"name{number}": number for number in range(50)}
        item = (await admin.api.post("/items", json={**CHAI, "attributes": attributes})).json()
        before = await rows(sql)
        answer = await admin.api.patch(f"/items/{item['id']}", json={"attributes": {"one_more": 1}})
        assert_problem(answer, 422, "invalid_input", "/attributes")
        assert await rows(sql) == before
        swapped = {"attributes": {"one_more": 1, "name0": None}}
        assert (await admin.api.patch(f"/items/{item['id']}", json=swapped)).status_code == 200


class TestUpsertItems:
    async def test_creates_and_changes_as_for_one_item(self, make: Make) -> None:
        admin = await make.admin()
        known = (await admin.api.post("/items", json={**CHAI, **PAGE, "sku": "NW-1"})).json()
        rows = [
            {"sku": "NW-1", "images": [BACK], "attributes": {"color": "blue", "units": None}},
            {"sku": "NW-2", **CHAI, "images": [FRONT], "attributes": {"size": 42.0, "absent": None}},
        ]
        answer = await admin.api.put("/items/batch", json=rows)
        assert [row["result"] for row in answer.json()] == ["changed", "created"], answer.text
        shown = {item["sku"]: item for item in (await admin.api.get("/items")).json()}
        assert shown["NW-1"] == {
            **known,
            "images": [BACK],
            "attributes": {"color": "blue", "weight_kg": 0.75, "organic": True},
            "version": 2,
            "updated_at": shown["NW-1"]["updated_at"],
        }
        assert (shown["NW-2"]["images"], shown["NW-2"]["attributes"]) == ([FRONT], {"size": 42})
        again = await admin.api.put("/items/batch", json=rows)
        assert [row["result"] for row in again.json()] == ["unchanged", "unchanged"]

    async def test_names_each_row_with_too_many(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        attributes = {f"name{number}": number for number in range(50)}
        for sku in ("NW-1", "NW-2"):
            await admin.api.post("/items", json={**CHAI, "sku": sku, "attributes": attributes})
        before = await rows(sql)
        more = [{"sku": sku, "attributes": {"one_more": 1}} for sku in ("NW-1", "NW-2")]
        answer = await admin.api.put("/items/batch", json=[{"sku": "NW-1", "price": "1"}, *more[1:]])
        assert_problem(answer, 422, "invalid_input", "/1/attributes")
        answer = await admin.api.put("/items/batch", json=more)
        assert_problem(answer, 422, "invalid_input", "/0/attributes", "/1/attributes")
        assert await rows(sql) == before


class TestStored:
    @pytest.mark.parametrize(
        ("column", "value"), [("images", "{}"), ("images", "x"), ("attributes", "[]"), ("attributes", "")]
    )
    async def test_only_json_of_its_kind(
        self, make: Make, sql: asyncpg.Connection, column: str, value: str
    ) -> None:
        await make.item()
        with pytest.raises((asyncpg.CheckViolationError, asyncpg.InvalidTextRepresentationError)):
            await sql.execute(f"UPDATE items SET {column} = $1", value)
        assert await rows(sql) == [("[]", "{}")]
