"""The words by which programs tell faults of fields apart: one list, in the code, OpenAPI and the guide."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from service.errors import Conflict, ServiceError
from service.platform.http.field_errors import FAULT_CODES
from service.platform.http.openapi.problem_schemas import typed_errors
from service.platform.http.problems import CODES, OAUTH_CODES, RFC6749_CODES
from tests.contract.routes import HOME
from tests.helpers.application import document_text
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make

ROOT = Path(__file__).parents[2]


def words() -> Iterator[tuple[str, str]]:
    """Each word that the service names where it makes a fault, and where."""
    for path in sorted((ROOT / "service").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (told := word_of(node)) is not None:
                for part in ast.walk(told):
                    yield from ((word, f"{path.relative_to(ROOT)}:{node.lineno}") for word in named(part))


def word_of(call: ast.Call) -> ast.expr | None:
    """What stands for the word in FieldFault(pointer, detail, word), with Unprocessable.at as well, and in
    invalid(word, advice).
    """
    name = ast.unparse(call.func)
    if name in ("FieldFault", "Unprocessable.at") and len(call.args) > 2:
        return call.args[2]
    return call.args[0] if name == "invalid" else None


def named(part: ast.AST) -> list[str]:
    """A literal, or the code of a class of errors."""
    if isinstance(part, ast.Constant) and isinstance(part.value, str):
        return [part.value]
    if isinstance(part, ast.Attribute):
        return [error.code for error in problems() if error.__name__ == ast.unparse(part.value)]
    return []


def test_every_word_is_listed() -> None:
    """Those that are not literals are found by the check of every answer (conformance.py)."""
    assert len({word for word, _ in words()}) > 10
    assert [f"{where}: {word}" for word, where in words() if word not in FAULT_CODES] == []


def test_the_words_are_stable_words_with_a_meaning() -> None:
    assert [word for word in FAULT_CODES if not re.fullmatch(r"[a-z]+(_[a-z]+)*", word)] == []
    assert [word for word, meaning in FAULT_CODES.items() if not re.fullmatch(r"\S.+\.", meaning)] == []


def test_openapi_and_the_guide_list_the_same() -> None:
    described = document_text()
    assert [word for word, meaning in FAULT_CODES.items() if f"- `{word}`: {meaning}" not in described] == []
    guide = (ROOT / "docs" / "api.md").read_text()
    assert dict(re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", guide, re.MULTILINE)) == dict(FAULT_CODES)


def test_no_validator_leaves_its_word_to_the_library() -> None:
    """What it raises as a plain ValueError would be `invalid`, whatever is wrong."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("schemas", "dependencies")
        for path in sorted((ROOT / "service" / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise) and "ValueError" in ast.unparse(node)
    ]
    assert found == []


MARIA = {"email": "maria@shop.example", "password": "Northwind7", "full_name": "Maria"}


def problems(base: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    for each in base.__subclasses__():
        yield each
        yield from problems(each)


def test_the_guide_lists_the_code_of_every_problem(app: FastAPI) -> None:
    """With the application every module that has a class of errors is there."""
    guide = (ROOT / "docs" / "api.md").read_text()
    table = guide.partition("| status | `code` | means |")[2].partition("\n\n")[0]
    oauth = {*RFC6749_CODES, *OAUTH_CODES.values(), "invalid_request"}
    only_a_base = {Conflict.code}
    codes = {*(error.code for error in problems()), *CODES.values()} - oauth - only_a_base
    assert sorted(codes - set(re.findall(r"`([a-z_]+)`", table))) == []


def test_the_guide_names_the_members_that_some_problems_have() -> None:
    guide = (ROOT / "docs" / "api.md").read_text()
    told = guide.partition("Some problems have members of their own:")[2].partition("\n")[0]
    missing = {
        (error.code, member)
        for error in typed_errors()
        for member in error.members
        if f"`{error.code}`" not in told or f"`{member}`" not in told
    }
    assert len(list(typed_errors())) >= 5
    assert missing == set()


class TestWords:
    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            ({"password": "short-1"}, ("/password", "password_too_short")),
            ({"password": "x1" * 65}, ("/password", "password_too_long")),
            ({"password": "without-a-digit"}, ("/password", "password_without_digit")),
            ({"password": "password1"}, ("/password", "password_too_common")),
            ({"password": "with-nul-1\0"}, ("/password", "forbidden_characters")),
            ({"password": 12345678}, ("/password", "wrong_type")),
            ({"email": "maria"}, ("/email", "invalid_email")),
            ({"full_name": " "}, ("/full_name", "too_short")),
            ({"full_name": "x" * 201}, ("/full_name", "too_long")),
            ({"full_name": "a\0b"}, ("/full_name", "forbidden_characters")),
            ({"full_name": None}, ("/full_name", "wrong_type")),
            ({"nickname": "Mia"}, ("/nickname", "unknown_field")),
            ({"is_admin": True}, ("/is_admin", "unknown_field")),
            ({"is_active": "yes"}, ("/is_active", "wrong_type")),
            ({"address": {**HOME, "country": "Germany"}}, ("/address/country", "unknown_country")),
            ({"address": []}, ("/address", "wrong_type")),
        ],
    )
    async def test_each_rule_of_registering_has_its_own(
        self, api: Api, change: dict[str, Any], fault: tuple[str, str]
    ) -> None:
        problem = assert_problem(
            await api.post("/users", json={**MARIA, **change}), 422, "invalid_input", fault[0]
        )
        assert problem["errors"][0]["code"] == fault[1]

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            ({"price": "0"}, ("/price", "too_small")),
            ({"price": "1e3"}, ("/price", "wrong_format")),
            ({"price": "1.005"}, ("/price", "too_many_decimals")),
            ({"price": "99999999999.00"}, ("/price", "too_many_digits")),
            ({"price": []}, ("/price", "wrong_type")),
            ({"stock": True}, ("/stock", "wrong_type")),
            ({"stock": -1}, ("/stock", "too_small")),
            ({"stock": 10**12}, ("/stock", "too_large")),
            ({"stock": 10**30}, ("/stock", "too_large")),
            ({"stock": 1.5}, ("/stock", "wrong_type")),
        ],
    )
    async def test_each_rule_of_an_item_has_its_own(
        self, make: Make, change: dict[str, Any], fault: tuple[str, str]
    ) -> None:
        admin = await make.admin()
        answer = await admin.api.post("/items", json={"name": "Chai", "price": "18.00", **change})
        problem = assert_problem(answer, 422, "invalid_input", fault[0])
        assert problem["errors"][0]["code"] == fault[1]

    @pytest.mark.parametrize(
        ("query", "fault"),
        [
            ("limit=0", ("?limit", "too_small")),
            ("limit=101", ("?limit", "too_large")),
            ("limit=ten", ("?limit", "wrong_format")),
            ("skip=10001", ("?skip", "too_large")),
            ("cursor=x", ("?cursor", "bad_cursor")),
            ("sort=colour", ("?sort", "unknown_value")),
            ("search=ch", ("?search", "too_short")),
            ("in_stock=perhaps", ("?in_stock", "wrong_format")),
            ("min_price=2&max_price=1", ("?min_price", "empty_range")),
            ("updated_since=yesterday", ("?updated_since", "wrong_format")),
            ("colour=red", ("?colour", "unknown_parameter")),
            ("limit=1&limit=2", ("?limit", "repeated_parameter")),
        ],
    )
    async def test_each_rule_of_a_list_has_its_own(
        self, api: Api, query: str, fault: tuple[str, str]
    ) -> None:
        problem = assert_problem(await api.get(f"/items?{query}"), 422, "invalid_input", fault[0])
        assert problem["errors"][0]["code"] == fault[1]


class TestManyFaults:
    async def test_a_batch_with_600_says_how_many_are_not_listed(self, make: Make) -> None:
        admin = await make.admin()
        batch = [{"name": f"Tea {number}", "price": "0.00"} for number in range(600)]
        answer = await admin.api.post("/items/batch", json=batch)
        pointers = [f"/{number}/price" for number in range(50)]
        problem = assert_problem(answer, 422, "invalid_input", *pointers)
        assert problem["errors_omitted"] == 550
        assert "; and 597 more. `errors` lists the first 50 of 600 faults." in problem["detail"]

    async def test_so_does_one_whose_faults_the_database_finds(self, make: Make) -> None:
        admin = await make.admin()
        batch = [{"name": f"Tea {number}", "price": "1.00", "sku": f"T-{number}"} for number in range(60)]
        assert (await admin.api.post("/items/batch", json=batch)).status_code == 201
        answer = await admin.api.post("/items/batch", json=batch)
        problem = assert_problem(answer, 409, "sku_taken", *[f"/{number}/sku" for number in range(50)])
        assert problem["errors_omitted"] == 10
        assert problem["detail"].endswith("`errors` lists the first 50 of 60 faults.")

    async def test_what_is_complete_does_not_speak_of_more(self, make: Make) -> None:
        admin = await make.admin()
        batch = [{"name": f"Tea {number}", "price": "0.00"} for number in range(50)]
        problem = (await admin.api.post("/items/batch", json=batch)).json()
        assert (len(problem["errors"]), "errors_omitted" in problem) == (50, False)
        assert problem["detail"].endswith("; and 47 more.")
