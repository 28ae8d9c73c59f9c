"""Whatever is refused, the answer says what to send: no fault speaks as the library that found it."""

import json
import re
from typing import Any

import pytest

from tests.contract.routes import Route
from tests.contract.test_bad_input import JSON, RAW, WITH_JSON, bad_values, body_schema, fields, of, placed
from tests.helpers.client import Api
from tests.helpers.factories import Make, Person

#: How pydantic tells: what a value is not, and nothing of what to send.
_LIBRARY = re.compile(
    r"Input should|Field required|Extra inputs|String should|List should|Value should|Decimal input"
    r"|Data should|after validation|Dictionary should|Tuple should|Unable to|URL should|JSON input"
    r"|value is not a valid"
)
#: A sentence that asks for something, or says what is required, refused or wrong and what to do about it.
_SENTENCE = re.compile(r"^[A-Z`].*[.:)]?$")


AMOUNT = "Write the amount in digits with a decimal point, such as 18.00."
TIME = "Send a time with its offset from UTC, such as 2026-11-22T10:30:00Z."


def wrong(text: str) -> bool:
    return bool(_LIBRARY.search(text)) or not _SENTENCE.match(text)


@of(WITH_JSON)
async def test_every_fault_of_a_body_says_what_to_send(make: Make, route: Route) -> None:
    request, admin = await route.request(make, await make.user()), await make.admin()
    bodies = ["[]", "7", "{}"]
    for field in fields(body_schema(route)):
        whole = json.dumps(placed(request.get("json"), field.path, RAW))
        bodies += [whole.replace(f'"{RAW}"', text) for _, text in bad_values(field) if len(text) < 4_300]
    kept = {name: value for name, value in request.items() if name != "json"}
    bad: dict[str, str] = {}
    for body in bodies:
        answer = await admin.api.request(**{**kept, "content": body, "headers": JSON})
        for fault in answer.json().get("errors", ()) if answer.status_code == 422 else ():
            if wrong(fault["detail"]):
                bad[fault["code"]] = f"{body[:60]} {fault['detail']}"
    assert bad == {}


class TestSingleFaults:
    async def fault(self, answer: Any) -> dict[str, Any]:
        assert answer.status_code == 422, answer.text
        [fault] = answer.json()["errors"]
        found: dict[str, Any] = fault
        return found

    async def test_too_short_a_search(self, api: Api) -> None:
        fault = await self.fault(await api.get("/items?search=ch"))
        assert fault["detail"] == "Send at least 3 characters; spaces at the ends do not count."

    @pytest.mark.parametrize("country", ["Germany", "de", "", "D", "XX", "DEU"])
    async def test_a_country_that_is_no_code(self, make: Make, country: str) -> None:
        maria = await make.user()
        address = {"street": "Hauptstr. 1", "city": "Bonn", "country": country}
        fault = await self.fault(await maria.api.patch("/users/profile", json={"address": address}))
        assert fault["detail"] == (
            "Send the country's ISO 3166-1 alpha-2 code, which is two capital letters, such as DE for"
            " Germany."
        )

    async def test_what_another_operation_changes(self, make: Make) -> None:
        admin, maria, chai = await make.admin(), await make.user(), await make.item()
        post = await make.post(maria)
        cases: list[tuple[Person, str, str, dict[str, Any], str]] = [
            (admin, "PATCH", f"/items/{chai.id}", {"stock": 5}, "POST /items/{id}/stock"),
            (maria, "PATCH", "/users/profile", {"password": "Southwind2"}, "POST /users/profile/password"),
            (maria, "PATCH", "/users/profile", {"is_admin": True}, "PATCH /admin/users/{id}"),
            (maria, "PATCH", f"/posts/{post}", {"status": "published"}, "POST /posts/{id}/publish"),
        ]
        for person, method, path, body, operation_named in cases:
            fault = await self.fault(await person.api.request(method, path, json=body))
            assert (fault["pointer"], fault["code"]) == (f"/{next(iter(body))}", "unknown_field")
            assert operation_named in fault["detail"]

    def test_they_are_not_documented_as_fields(self, api: Api) -> None:
        schemas = api.app.openapi()["components"]["schemas"]
        assert "stock" not in schemas["ItemPatch"]["properties"]
        assert schemas["ItemPatch"]["additionalProperties"] is False

    @pytest.mark.parametrize(
        ("path", "pointer", "detail"),
        [
            ("/items?limit=x", "?limit", "Send a whole number in digits, such as 12."),
            ("/items?limit=101", "?limit", "Send a value of 100 or less."),
            ("/items?in_stock=maybe", "?in_stock", "Send true or false."),
            (
                "/items?min_price=x",
                "?min_price",
                AMOUNT,
            ),
            (
                "/items?updated_since=0",
                "?updated_since",
                TIME,
            ),
            ("/items?colour=red", "?colour", "Unknown parameter: correct its name or leave it out."),
            ("/items/x", "{item_id}", "Send a whole number in digits, such as 12."),
            ("/posts?order=up", "?order", "Send one of these: asc, desc."),
        ],
    )
    async def test_a_parameter(self, api: Api, path: str, pointer: str, detail: str) -> None:
        fault = await self.fault(await api.get(path))
        assert (fault["pointer"], fault["detail"]) == (pointer, detail)
