"""API4:2023 Unrestricted Resource Consumption: whatever a caller chooses has a greatest value."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.abuse.walking import alternatives, bodies, operations, parameters
from tests.helpers.client import V1, assert_problem
from tests.helpers.factories import Make

LISTS = [
    path
    for method, path, operation in operations()
    if method == "GET" and any(each["name"] == "limit" for each in parameters(operation))
]
#: A hint of another type than we know is left out (RFC 7009, section 2.1); the body's limit bounds it.
UNBOUNDED = {"POST /api/v1/auth/revoke/token_type_hint: string"}
BOUNDS = {
    "string": {"maxLength", "enum", "const", "format", "pattern"},
    "array": {"maxItems"},
    "integer": {"maximum", "enum"},
    "number": {"maximum", "enum"},
}


def unbounded(schema: dict[str, Any], path: str) -> Iterator[str]:
    """What a schema leaves without a greatest length or value. The patterns here are looked at below."""
    for each in alternatives(schema):
        kind = each.get("type", "")
        if kind in BOUNDS and not BOUNDS[kind] & each.keys():
            yield f"{path}: {kind}"
        if kind == "string" and not {"maxLength", "enum", "const", "format"} & each.keys():
            pattern = each.get("pattern", "")
            if any(repeat in pattern for repeat in ("*", "+", ",}")):
                yield f"{path}: a pattern of any length"
        if kind == "array":
            yield from unbounded(each["items"], f"{path}/0")
        for name, inner in each.get("properties", {}).items():
            yield from unbounded(inner, f"{path}/{name}")


def test_every_text_list_and_number_of_a_request_has_a_greatest_one() -> None:
    """Headers are bounded together: tests/server/test_heads.py."""
    found: set[str] = set()
    for method, path, operation in operations():
        for schema in bodies(operation):
            found.update(unbounded(schema, f"{method} {path}"))
        for each in parameters(operation):
            if each["in"] != "header":
                found.update(unbounded(each["schema"], f"{method} {path} {each['name']}"))
    assert found == UNBOUNDED


@pytest.mark.parametrize("path", LISTS)
async def test_no_page_has_more_than_a_hundred(make: Make, path: str) -> None:
    ada = await make.admin()
    url = path.removeprefix(V1).format(webhook_id=1)
    query = "&updated_since=1970-01-01T00:00:00Z" if path.endswith("/removed") else ""
    for limit in (0, 101, 1_000_000, -1):
        answer = await ada.api.get(f"{url}?limit={limit}{query}")
        if answer.status_code != 404:
            assert_problem(answer, 422, "invalid_input", "?limit")


def test_every_list_has_a_limit_and_every_operation_of_the_api_a_rate() -> None:
    for method, path, operation in operations():
        if not path.startswith(V1):
            continue
        assert "429" in operation["responses"], (method, path)
        for each in alternatives(
            operation["responses"]
            .get("200", {})
            .get("content", {})
            .get("application/json", {})
            .get("schema", {})
        ):
            if each.get("type") == "array" and path != f"{V1}/items/categories":
                assert path in LISTS
