"""Filters by attributes, and facets."""

from typing import Any
from unittest.mock import patch

import asyncpg
import pytest

from service.catalogue.attributes import repository as attributes
from service.catalogue.facets import repository as facets
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make

SHOP: list[dict[str, Any]] = [
    {"name": "Red mug", "category": "Mugs", "price": "9", "stock": 5,
     "attributes": {"color": "red", "weight_kg": 0.35, "size": "42", "hand_made": True}},
    {"name": "Blue mug", "category": "Mugs", "price": "10", "stock": 5,
     "attributes": {"color": "blue", "weight_kg": 0.5, "size": 42, "hand_made": False}},
    {"name": "Blue jug", "category": "Jugs", "price": "20",
     "attributes": {"color": "blue", "weight_kg": 1.25, "size": 7, "hand_made": True}},
    {"name": "Red jug", "category": "Jugs", "price": "30", "stock": 5,
     "attributes": {"color": "red", "weight_kg": -2, "note": 'say "hi" \\ $.x'}},
    {"name": "Plain plate", "category": "Plates", "price": "5", "stock": 5},
]  # fmt: skip
RED_MUG, BLUE_MUG, BLUE_JUG, RED_JUG, PLATE = (item["name"] for item in SHOP)


@pytest.fixture
async def shop(make: Make) -> None:
    for item in SHOP:
        await make.item(**item)


async def names(api: Api, query: str) -> list[str]:
    answer = await api.get(f"/items?{query}")
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()]


@pytest.mark.usefixtures("shop")
class TestListItems:
    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("attributes[color]=red", [RED_MUG, RED_JUG]),
            ("attributes%5Bcolor%5D=%20red%20", [RED_MUG, RED_JUG]),
            ("attributes[color]=Red", []),
            ("attributes[color]=green", []),
            ("attributes[absent]=red", []),
            ("attributes[size]=42", [RED_MUG, BLUE_MUG]),
            ("attributes[size]=42.0", [BLUE_MUG]),
            ("attributes[size]=-42", []),
            ("attributes[weight_kg]=0.50", [BLUE_MUG]),
            ("attributes[weight_kg]=-2", [RED_JUG]),
            ("attributes[hand_made]=true", [RED_MUG, BLUE_JUG]),
            ("attributes[hand_made]=false", [BLUE_MUG]),
            ("attributes[note]=say%20%22hi%22%20%5C%20%24.x", [RED_JUG]),
            ("attributes[color]=blue&attributes[hand_made]=true", [BLUE_JUG]),
            ("attributes[color]=blue&category=Mugs", [BLUE_MUG]),
            ("attributes[color]=blue&in_stock=true", [BLUE_MUG]),
            ("min_attributes[weight_kg]=0.35", [RED_MUG, BLUE_MUG, BLUE_JUG]),
            ("min_attributes[weight_kg]=0.350001", [BLUE_MUG, BLUE_JUG]),
            ("max_attributes[weight_kg]=0.5", [RED_MUG, BLUE_MUG, RED_JUG]),
            ("min_attributes[weight_kg]=0.4&max_attributes[weight_kg]=1", [BLUE_MUG]),
            ("min_attributes[weight_kg]=-1&attributes[color]=red", [RED_MUG]),
            ("min_attributes[size]=1", [BLUE_MUG, BLUE_JUG]),
            ("min_attributes[color]=1", []),
            ("max_attributes[absent]=1", []),
            ("attributes[color]=blue&sort=-price", [BLUE_JUG, BLUE_MUG]),
            ("attributes[color]=blue&search=jug", [BLUE_JUG]),
            ("min_attributes[weight_kg]=1&search=blue", [BLUE_JUG]),
        ],
    )
    @pytest.mark.parametrize("few", [0, 2_000])
    async def test_filters_by_attributes(self, api: Api, query: str, found: list[str], few: int) -> None:
        """However many items are in a range."""
        with patch.object(attributes, "FEW", few):
            assert await names(api, query) == found

    async def test_pages_go_on_under_the_same_filter(self, api: Api) -> None:
        answer = await api.get("/items?attributes[color]=blue&limit=1")
        link = answer.headers["link"].partition("<")[2].partition(">")[0]
        assert "attributes%5Bcolor%5D=blue" in link
        following = await api.get(link.removeprefix("/api/v1"))
        assert [item["name"] for item in following.json()] == [BLUE_JUG]

    async def test_follows_changes(self, make: Make, api: Api, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        item_id = await sql.fetchval("SELECT id FROM items WHERE name = $1", RED_MUG)
        patch = {"attributes": {"color": "blue", "weight_kg": None, "size": 43}}
        await admin.api.patch(f"/items/{item_id}", json=patch)
        assert await names(api, "attributes[color]=red") == [RED_JUG]
        assert await names(api, "attributes[color]=blue&max_attributes[size]=43") == [
            RED_MUG, BLUE_MUG, BLUE_JUG,
        ]  # fmt: skip
        assert await names(api, "min_attributes[weight_kg]=0&max_attributes[weight_kg]=0.4") == []
        await admin.api.patch(f"/items/{item_id}", json={"attributes": None})
        rows = "SELECT count(*) FROM item_attributes WHERE item_id = $1"
        assert await sql.fetchval(rows, item_id) == 0
        await sql.execute("DELETE FROM items")
        assert await sql.fetchval("SELECT count(*) FROM item_attributes") == 0
        assert await sql.fetchval("SELECT count(*) FROM item_numbers") == 0

    @pytest.mark.parametrize(
        ("query", "pointer", "code"),
        [
            ("attributes=red", "?attributes", "unknown_parameter"),
            ("attributes[color=red", "?attributes[color", "unknown_parameter"),
            ("attributes[]=red", "?attributes[]", "unknown_parameter"),
            ("attributes[Color]=red", "?attributes[Color]", "unknown_parameter"),
            ("attributes[a][b]=red", "?attributes[a][b]", "unknown_parameter"),
            ("colors[a]=red", "?colors[a]", "unknown_parameter"),
            ("min_attributes[Color]=1", "?min_attributes[Color]", "unknown_parameter"),
            ("attributes[color]=", "?attributes[color]", "blank"),
            ("attributes[color]=a%0Ab", "?attributes[color]", "forbidden_characters"),
            (f"attributes[color]={'x' * 201}", "?attributes[color]", "too_long"),
            ("attributes[color]=a&attributes[color]=b", "?attributes[color]", "repeated_parameter"),
            ("min_attributes[size]=", "?min_attributes[size]", "wrong_format"),
            ("min_attributes[size]=1e3", "?min_attributes[size]", "wrong_format"),
            ("min_attributes[size]=1_0", "?min_attributes[size]", "wrong_format"),
            ("max_attributes[size]=1000000000", "?max_attributes[size]", "wrong_format"),
            ("max_attributes[size]=0.0000001", "?max_attributes[size]", "wrong_format"),
            ("min_attributes[a]=2&max_attributes[a]=1", "?min_attributes[a]", "empty_range"),
            ("&".join(f"attributes[n{each}]=1" for each in range(21)), "?attributes", "too_long"),
        ],
    )
    @pytest.mark.parametrize("path", ["/items", "/items/facets"])
    async def test_refuses_what_cannot_be_meant(
        self, api: Api, path: str, query: str, pointer: str, code: str
    ) -> None:
        answer = await api.get(f"{path}?{query}")
        assert_problem(answer, 422, "invalid_input", pointer)
        assert [fault["code"] for fault in answer.json()["errors"]] == [code]


def facet(name: str, counted: int, values: list[tuple[Any, int]], **numbers: float) -> dict[str, Any]:
    return {
        "name": name, "counted": counted, "exact": True,
        "values": [{"value": value, "count": count} for value, count in values],
        "least": None, "most": None, **numbers,
    }  # fmt: skip


async def facets_of(api: Api, query: str) -> Any:
    answer = await api.get(f"/items/facets?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.usefixtures("shop")
class TestGetFacets:
    async def test_counts_the_values_of_each_type(self, api: Api) -> None:
        assert await facets_of(api, "names=size,color,hand_made,weight_kg,absent") == [
            facet("size", 5, [("42", 1), (7, 1), (42, 1)], least=7, most=42),
            facet("color", 5, [("blue", 2), ("red", 2)]),
            facet("hand_made", 5, [(True, 2), (False, 1)]),
            facet("weight_kg", 5, [(-2, 1), (0.35, 1), (0.5, 1), (1.25, 1)], least=-2, most=1.25),
            facet("absent", 5, []),
        ]

    async def test_counts_under_all_filters_but_its_own(self, api: Api) -> None:
        query = "attributes[color]=red&max_attributes[weight_kg]=1&names=color,hand_made,weight_kg"
        assert await facets_of(api, query) == [
            facet("color", 3, [("red", 2), ("blue", 1)]),
            facet("hand_made", 2, [(True, 1)]),
            facet("weight_kg", 2, [(-2, 1), (0.35, 1)], least=-2, most=0.35),
        ]
        assert await facets_of(api, "category=Mugs&in_stock=true&max_price=9&names=color") == [
            facet("color", 1, [("red", 1)])
        ]

    async def test_by_default_of_those_filtered_by_and_those_that_most_have(self, api: Api) -> None:
        found = await facets_of(api, "attributes[size]=42")
        assert [each["name"] for each in found] == ["size", "color", "hand_made", "weight_kg"]
        found = await facets_of(api, "")
        assert [each["name"] for each in found] == ["color", "weight_kg", "hand_made", "size", "note"]
        assert await facets_of(api, "category=Plates") == []

    async def test_of_a_search(self, api: Api) -> None:
        colors = facet("color", 2, [("blue", 1), ("red", 1)])
        assert await facets_of(api, "search=mug&names=color") == [colors]
        query = "search=mug&attributes[color]=red&names=color,size"
        assert await facets_of(api, query) == [colors, facet("size", 1, [("42", 1)])]

    async def test_shows_the_public_what_is_on_sale(self, make: Make, api: Api) -> None:
        await make.item(is_active=False, attributes={"color": "green"})
        admin = await make.admin()
        assert await facets_of(api, "names=color") == [facet("color", 5, [("blue", 2), ("red", 2)])]
        assert await facets_of(admin.api, "is_active=false&names=color") == [
            facet("color", 1, [("green", 1)])
        ]

    async def test_says_that_it_counted_a_part(self, api: Api) -> None:
        facets._counts.cache_clear()
        with patch.object(facets, "MAX_COUNTED", 3), patch("service.catalogue.facets.service.MAX_COUNTED", 3):
            [color] = await facets_of(api, "names=color")
        facets._counts.cache_clear()
        assert (color["counted"], color["exact"]) == (3, False)
        assert sum(value["count"] for value in color["values"]) <= 3

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            ("", "wrong_format"),
            ("color,", "wrong_format"),
            ("Color", "wrong_format"),
            ("color,color", "duplicate"),
            (",".join(f"n{each}" for each in range(11)), "too_long"),
        ],
    )
    async def test_refuses_what_no_names_are(self, api: Api, sent: str, code: str) -> None:
        answer = await api.get(f"/items/facets?names={sent}")
        assert_problem(answer, 422, "invalid_input", "?names")
        assert [fault["code"] for fault in answer.json()["errors"]] == [code]

    async def test_carries_a_tag(self, api: Api) -> None:
        tag = (await api.get("/items/facets?names=color")).headers["etag"]
        again = await api.get("/items/facets?names=color", headers={"If-None-Match": tag})
        assert again.status_code == 304
