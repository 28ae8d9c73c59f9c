"""The OpenAPI document is valid, complete, the one that is kept, and what the application does."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from jsonschema_rs import Draft202012Validator

from service.identity.dependencies import Anyone, CatalogueReader
from service.platform.http.openapi import needs_caller, operation_id
from service.platform.http.openapi.components import resolved
from tests.contract.conformance import Document, Undocumented, document_of
from tests.helpers.application import document_text

KEPT = Path(__file__).parents[2] / "docs" / "openapi.json"
TEXT = document_text()
DOCUMENT: dict[str, Any] = json.loads(TEXT)
OAUTH = {"/api/v1/auth/token", "/api/v1/auth/revoke"}
COMPONENTS: dict[str, Any] = DOCUMENT["components"]


def whole(operation: dict[str, Any]) -> dict[str, Any]:
    """With the responses and parameters that it refers to."""
    responses = {status: resolved(COMPONENTS, each) for status, each in operation["responses"].items()}
    parameters = [resolved(COMPONENTS, each) for each in operation.get("parameters", ())]
    return {**operation, "responses": responses, "parameters": parameters}


OPERATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    operation["operationId"]: (method, path, whole(operation))
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
#: What a summary begins with; its object follows.
VERBS = {
    "Adjust", "Cancel", "Change", "Check", "Compute", "Confirm", "Create", "Delete", "End", "Export", "Get",
    "Issue", "List", "Mark", "Place", "Publish", "Register", "Repeat", "Replace", "Request", "Reset",
    "Revoke", "Rotate", "Send", "Stream", "Update", "Withdraw",
}  # fmt: skip
each_operation = pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS.values(), ids=OPERATIONS)


def examples(schema: dict[str, Any]) -> list[Any]:
    """Those beside a schema, and those of what it refers to."""
    named = schema.get("$ref", "").rpartition("/")[2]
    inner = [DOCUMENT["components"]["schemas"][named]] if named else schema.get("anyOf", [])
    return [*schema.get("examples", []), *(example for each in inner for example in examples(each))]


class TestDocument:
    def test_the_kept_one_is_what_the_application_says(self) -> None:
        assert KEPT.is_file(), "There is no docs/openapi.json: run `make openapi`."
        assert KEPT.read_text() == TEXT, "docs/openapi.json is out of date: run `make openapi`."

    def test_is_the_same_with_other_settings(self, app: FastAPI) -> None:
        assert json.loads(json.dumps(app.openapi())) == DOCUMENT

    def test_is_valid_openapi_3_1(self) -> None:
        assert DOCUMENT["openapi"].startswith("3.1.")
        flow = DOCUMENT["components"]["securitySchemes"]["OAuth2"]["flows"]["password"]
        # The schema of the specification wants it absolute, its text does not, and nobody here knows where.
        absolute = {**flow, "tokenUrl": "https://shop.example" + flow["tokenUrl"]}
        schemes = {
            **DOCUMENT["components"]["securitySchemes"],
            "OAuth2": {"type": "oauth2", "flows": {"password": absolute}},
        }
        components = {**DOCUMENT["components"], "securitySchemes": schemes}
        schemathesis.openapi.from_dict({**DOCUMENT, "components": components}).validate()

    def test_one_signs_in_by_the_password_flow(self) -> None:
        scheme = DOCUMENT["components"]["securitySchemes"]["OAuth2"]
        assert scheme["type"] == "oauth2"
        assert scheme["flows"] == {"password": {"scopes": {}, "tokenUrl": "/api/v1/auth/token"}}

    def test_every_tag_is_described_and_used(self) -> None:
        described = {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]}
        assert described == {tag for _, _, operation in OPERATIONS.values() for tag in operation["tags"]}

    def test_what_operations_repeat_is_a_component(self) -> None:
        operations = [each for path in DOCUMENT["paths"].values() for each in path.values()]
        errors = [
            response
            for operation in operations
            for status, response in operation["responses"].items()
            if int(status) >= 300
        ]
        parameters = [each for operation in operations for each in operation.get("parameters", ())]
        for written in (errors, parameters):
            texts = [json.dumps(each) for each in written if "$ref" not in each]
            assert len(set(texts)) == len(texts)

    @pytest.mark.parametrize("kind", ["schemas", "responses", "parameters", "headers"])
    def test_every_component_is_referred_to(self, kind: str) -> None:
        named = set(re.findall(rf'"#/components/{kind}/([\w-]+)"', TEXT))
        assert named == set(COMPONENTS[kind])

    def test_no_two_schemas_become_one_class_in_a_generated_client(self) -> None:
        """Generators leave out what does not fit into a name."""
        names = list(DOCUMENT["components"]["schemas"])
        assert [name for name in names if not re.fullmatch(r"([A-Z][a-z]+)+|OAuthError", name)] == []
        assert len({name.lower() for name in names}) == len(names)

    def test_says_which_host_answers_and_who_is_responsible(self) -> None:
        assert [server["url"] for server in DOCUMENT["servers"]] == ["/"]
        assert DOCUMENT["info"]["contact"].keys() == {"name", "url"}

    def test_operation_ids_are_unique(self) -> None:
        assert len(OPERATIONS) == sum(len(operations) for operations in DOCUMENT["paths"].values())

    def test_has_no_null_parameters_and_no_rounded_bounds(self) -> None:
        for _, _, operation in OPERATIONS.values():
            for parameter in operation.get("parameters", ()):
                assert '"null"' not in json.dumps(parameter), parameter
        assert re.findall(r'"(?:minimum|maximum)": [\d.]+e', TEXT) == []
        assert DOCUMENT["components"]["schemas"]["Item"]["properties"]["id"]["maximum"] == 2**63 - 1


@each_operation
class TestOperation:
    def test_has_a_summary_and_a_description(self, method: str, path: str, operation: dict[str, Any]) -> None:
        assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", operation["operationId"])
        assert operation["description"].startswith(operation["summary"])
        assert re.match(r"[A-Z][a-z]+ .*\w", operation["summary"])
        assert operation["summary"].split()[0] in VERBS
        assert len(operation["summary"]) in range(5, 120)
        assert operation["tags"]

    def test_every_error_has_its_form_and_headers(
        self, method: str, path: str, operation: dict[str, Any]
    ) -> None:
        kind, media = (
            ("OAuthError", "application/json") if path in OAUTH else ("Problem", "application/problem+json")
        )
        errors = {status: each for status, each in operation["responses"].items() if int(status) >= 400}
        assert {"500", "503"} <= errors.keys()
        for status, error in errors.items():
            assert error["description"]
            schema = error["content"][media]["schema"]
            assert schema.get("anyOf", [schema])[-1] == {"$ref": f"#/components/schemas/{kind}"}
            own = {
                "401": {"WWW-Authenticate"},
                "429": {"Retry-After", "RateLimit", "RateLimit-Policy"},
                "503": {"Retry-After"},
            }.get(status, set())
            own |= {"Accept-Patch"} if (method, status) == ("patch", "415") else set()
            assert set(error["headers"]) == {"X-Request-ID", *own}

    def test_lists_the_refusals_that_any_request_may_get(
        self, method: str, path: str, operation: dict[str, Any]
    ) -> None:
        expected = {"400"}
        if path.startswith("/api/"):
            expected |= {"406", "429"} if path in OAUTH else {"401", "406", "422", "429"}
        if "requestBody" in operation:
            expected |= {"400", "408", "413", "415"}
        assert expected <= operation["responses"].keys()

    def test_a_body_has_examples_that_are_valid(
        self, method: str, path: str, operation: dict[str, Any]
    ) -> None:
        for content in operation.get("requestBody", {}).get("content", {}).values():
            found = examples(content["schema"])
            assert found
            schema = {**content["schema"], "components": DOCUMENT["components"]}
            for example in found:
                Draft202012Validator(schema, validate_formats=True).validate(example)

    def test_asks_for_a_token_only_where_one_is_needed(
        self, method: str, path: str, operation: dict[str, Any]
    ) -> None:
        """Which is where; that it is true is proven by test_callers."""
        person: dict[str, list[str]] = {"OAuth2": []}
        assert operation["security"] == [] or person in operation["security"][:2]
        if "403" in operation["responses"]:
            assert needs_caller(operation) or operation["operationId"] == "createUser"
        if not path.startswith("/api/") or path in OAUTH:
            assert operation["security"] == []

    def test_every_parameter_in_the_path_is_required(
        self, method: str, path: str, operation: dict[str, Any]
    ) -> None:
        named = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path))


PROBLEM = {"type": "x", "title": "x", "status": 404, "detail": "x", "instance": "x", "code": "not_found"}


async def test_signing_in_is_optional_where_a_handler_takes_any_caller(app: FastAPI) -> None:
    asking = {
        operation_id(context.original_route)
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, APIRoute)
        and {Anyone, CatalogueReader}
        & {each.annotation for each in inspect.signature(context.original_route.endpoint).parameters.values()}
    }
    optional = {name for name, (_, _, operation) in OPERATIONS.items() if {} in operation["security"]}
    assert optional == asking


class TestProblemsWithMembers:
    @pytest.mark.parametrize(
        ("operation", "error", "members"),
        [
            ("createOrder", "OutOfStockProblem", {"products"}),
            ("createOrder", "PriceChangedProblem", {"prices"}),
            ("adjustStock", "StockBelowZeroProblem", {"available"}),
        ],
    )
    def test_are_typed_where_they_occur(self, operation: str, error: str, members: set[str]) -> None:
        conflict = OPERATIONS[operation][2]["responses"]["409"]["content"]["application/problem+json"]
        assert {"$ref": f"#/components/schemas/{error}"} in conflict["schema"]["anyOf"]
        schemas = COMPONENTS["schemas"]
        assert schemas[error]["properties"].keys() - schemas["Problem"]["properties"].keys() == members
        assert members <= set(schemas[error]["required"])


class TestHeadersOfSuccess:
    def carrying(self, header: str) -> set[str]:
        """The operations that name it for a success."""
        return {
            name
            for name, (_, _, operation) in OPERATIONS.items()
            for status, answer in operation["responses"].items()
            if int(status) < 400 and header in answer.get("headers", ())
        }

    def test_what_is_created_says_where_it_is(self) -> None:
        made = {name for name in OPERATIONS if name.startswith("create")}
        assert self.carrying("Location") == made - {"createItems"}

    def test_the_api_says_what_its_rate_limits_leave(self) -> None:
        for _, path, operation in OPERATIONS.values():
            (success,) = (each for status, each in operation["responses"].items() if int(status) < 300)
            told = {"RateLimit", "RateLimit-Policy"} & success["headers"].keys()
            assert len(told) == (2 if path.startswith("/api/") else 0)

    def test_lists_lead_on(self) -> None:
        lists = {name for name in OPERATIONS if name.startswith("list")}
        assert self.carrying("Link") == lists - {"listCategories"}

    def test_lists_say_how_to_follow_changes_and_whether_they_are_whole(self) -> None:
        polled = {"listItems", "listPosts", "listRemovedItems", "listRemovedPosts"}
        assert self.carrying("Next-Updated-Since") == polled
        assert self.carrying("Search-Results") == {"listItems"}


class TestConformance:
    """Every answer that any test gets is held against the document: here is what would be caught."""

    @pytest.fixture
    def document(self, app: FastAPI) -> Document:
        return document_of(app)

    def answer(
        self,
        status: int,
        content: Any,
        *,
        path: str = "/api/v1/posts/1",
        media: str = "application/problem+json",
        headers: Any = None,
    ) -> httpx2.Response:
        request = httpx2.Request("GET", f"http://shop.test{path}")
        headers = {"X-Request-ID": "5f0c9a6f4be24b0d", "ETag": '"1-x"'} if headers is None else headers
        body = json.dumps(content).encode()
        return httpx2.Response(
            status, content=body, headers={**headers, "Content-Type": media}, request=request
        )

    def test_what_is_documented_passes(self, document: Document) -> None:
        document.check(self.answer(404, PROBLEM))
        document.check(self.answer(404, PROBLEM, path="/api/v1/posts/1/"))
        document.check(self.answer(404, PROBLEM, path="/nowhere"))

    @pytest.mark.parametrize(
        ("fault", "status", "content", "options"),
        [
            ("the status is not documented", 409, PROBLEM, {}),
            ("X-Request-ID is missing", 404, PROBLEM, {"headers": {}}),
            ("WWW-Authenticate is missing", 401, PROBLEM, {}),
            ("ETag is missing", 200, {}, {"headers": {"X-Request-ID": "5f0c9a6f4be24b0d"}}),
            ("application/json is not documented", 404, PROBLEM, {"media": "application/json"}),
            ("is a required property", 404, {"detail": "Not Found"}, {}),
            ("is not of type", 404, {**PROBLEM, "errors": {}}, {}),
            (r"undocumented members: \['surprise'\]", 404, {**PROBLEM, "surprise": 1}, {}),
            ("is a required property", 200, {"id": 1}, {"media": "application/json"}),
            ("is not of type", 200, {}, {"path": "/api/v1/posts", "media": "application/json"}),
            ("is not documented", 404, {}, {"path": "/nowhere", "media": "application/json"}),
        ],
    )
    def test_what_is_not_is_caught(
        self, document: Document, fault: str, status: int, content: Any, options: dict[str, Any]
    ) -> None:
        with pytest.raises(Undocumented, match=fault):
            document.check(self.answer(status, content, **options))
