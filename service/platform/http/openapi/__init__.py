"""The OpenAPI document, and the contract that is read back from it.

What every operation has in common (request ids, the problems that anything can answer) is added
here once; routers declare only what is their own, by `problems()`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from service import __version__
from service.errors import ServiceError
from service.platform.http.openapi import problem_schemas
from service.platform.http.openapi.components import resolved, share
from service.platform.http.openapi.descriptions import (
    CONTACT,
    DESCRIPTION,
    HEADERS,
    HEADERS_OF,
    IF_NONE_MATCH,
    RATE_LIMIT_HEADERS,
    RESPONSES,
    SERVERS,
    TAGS,
)
from service.platform.http.problems import MEDIA_TYPE, OAUTH_PATHS
from service.platform.http.schemas import MAX_ID

MERGE_PATCH: Final = "application/merge-patch+json"


#: For `openapi_extra` where a caller may sign in and need not.
OPTIONAL_SIGN_IN: Final[dict[str, Any]] = {"security": [{}, {"OAuth2": []}]}
CATALOGUE_READ: Final[dict[str, Any]] = {
    "security": [*OPTIONAL_SIGN_IN["security"], {"ApiKey": ["catalogue:write"]}]
}


def problems(*known: int | type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer these errors, beside those that every route may.

    A class stands for its status, and for a schema with the members that it alone has.
    """
    classes = [each for each in known if not isinstance(each, int)]
    responses: dict[int | str, dict[str, Any]] = {}
    for status in [each if isinstance(each, int) else each.status for each in known]:
        typed = [each for each in classes if each.status == status]
        content = {MEDIA_TYPE: {"schema": problem_schemas.problem_content(*typed)}} if typed else None
        responses[status] = {"description": RESPONSES[status], **({"content": content} if content else {})}
    return responses


def operation_id(route: APIRoute) -> str:
    """`create_order` is `createOrder`: generated clients name their methods by it, so it never changes."""
    first, *rest = route.name.split("_")
    return first + "".join(word.title() for word in rest)


class Webhooks(Protocol):
    """The messages that the service sends to others, which the document describes too."""

    def schemas(self) -> dict[str, Any]:
        """The components that the section refers to."""

    def section(self) -> dict[str, Any]:
        """The document's `webhooks`."""


def build(app: FastAPI, webhooks: Webhooks) -> dict[str, Any]:
    document = get_openapi(
        title="Tradepost",
        version=__version__,
        description=DESCRIPTION,
        routes=app.routes,
        tags=TAGS,
        servers=SERVERS,
        contact=CONTACT,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas |= problem_schemas.schemas()
    document["components"]["schemas"] = {**webhooks.schemas(), **schemas}
    document["webhooks"] = webhooks.section()
    document["components"]["headers"] = HEADERS
    paths = document["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            _complete_retries(operation)
            _complete_conditions(method, operation)
            _complete(path, operation)
        _complete_links(operations, members=any(other.startswith(path + "/{") for other in paths))
    tidy: dict[str, Any] = _tidied(document)
    share(tidy)
    return tidy


def _complete(path: str, operation: dict[str, Any]) -> None:
    # The framework's summary is the handler's name once more.
    operation["summary"] = re.split(r"[.;](?:\s|$)", operation["description"], maxsplit=1)[0]
    # Without it a public operation looks like one whose security was forgotten.
    operation.setdefault("security", [])
    responses = operation["responses"]
    # FastAPI documents a 422 of its own form; ours comes back below where it can happen.
    responses.pop("422", None) if "content" in responses.get("422", {}) else None
    for status in sorted(_common(path, operation)):
        responses.setdefault(str(status), {"description": RESPONSES[status]})
    schema = "OAuthError" if path in OAUTH_PATHS else "Problem"
    media_type = "application/json" if path in OAUTH_PATHS else MEDIA_TYPE
    for status, answer in responses.items():
        for header in ("X-Request-ID", *_rate_limited(path, int(status))):
            _carries(answer, header)
        if int(status) >= 400:
            if int(status) in HEADERS_OF:
                _carries(answer, HEADERS_OF[int(status)])
            # A probe that says no has a form of its own, but can be refused like any other request.
            contents = answer.setdefault("content", {})
            contents.setdefault(media_type, {"schema": {"$ref": f"#/components/schemas/{schema}"}})
    operation["responses"] = dict(sorted(responses.items()))


def _header_parameters(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in operation.get("parameters", ()) if each["in"] == "header"}


def _complete_retries(operation: dict[str, Any]) -> None:
    """The other responses of a POST that takes an Idempotency-Key."""
    taken = _header_parameters(operation).get("Idempotency-Key")
    if taken is not None:
        for status, answer in operation["responses"].items():
            if status.startswith("2"):
                _carries(answer, "Idempotent-Replayed")
        for status in ("400", "409"):
            operation["responses"].setdefault(status, {"description": RESPONSES[int(status)]})


def _complete_conditions(method: str, operation: dict[str, Any]) -> None:
    responses, condition = operation["responses"], _header_parameters(operation).get("If-Match")
    if condition is not None:
        condition["required"] = "428" in responses
    if condition is not None or method in ("put", "patch", "delete"):
        responses["412"] = {"description": RESPONSES[412]}
    if "304" in responses:
        operation.setdefault("parameters", []).append(IF_NONE_MATCH)
    if method == "patch":
        content = operation["requestBody"]["content"]
        content[MERGE_PATCH] = content["application/json"]
        responses["415"] = {"description": RESPONSES[415]}
        _carries(responses["415"], "Accept-Patch")


def _rate_limited(path: str, status: int) -> tuple[str, ...]:
    """Other answers have them too, where the refusal came after the counting."""
    return RATE_LIMIT_HEADERS if path.startswith("/api/") and (status < 400 or status == 429) else ()


def _carries(answer: dict[str, Any], header: str) -> None:
    answer.setdefault("headers", {})[header] = {"$ref": f"#/components/headers/{header}"}


def _complete_links(operations: dict[str, Any], *, members: bool) -> None:
    """`members`: whether there are resources below this address that have addresses of their own."""
    created = operations.get("post", {}).get("responses", {}).get("201")
    if created is not None and members:
        _carries(created, "Location")
    listing = operations.get("get", {})
    if any(parameter["name"] == "cursor" for parameter in listing.get("parameters", ())):
        _carries(listing["responses"]["200"], "Link")


def _tidied(part: Any, key: str = "") -> Any:
    """What FastAPI makes of it, put right.

    Bounds are whole numbers again (the largest id would be one too large as a float), parameters
    cannot be null, and titles that only repeat a name are left out.
    """
    if isinstance(part, list):
        return [_tidied(each) for each in part]
    if isinstance(part, float) and part.is_integer():
        return MAX_ID if part == float(MAX_ID) else int(part)
    if not isinstance(part, dict):
        return part
    if key == "schema" or part.get("title") == key.replace("_", " ").title():
        part = {name: value for name, value in part.items() if name != "title"}
    if part.get("in") in ("query", "path", "header"):
        part = {**part, "schema": _given(part["schema"])}
    return {name: _tidied(value, name) for name, value in part.items()}


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter where it is given; its description stands beside it already."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "description")}
    if not kinds:
        return rest
    return {**kinds[0], **rest} if len(kinds) == 1 else {"anyOf": kinds, **rest}


def _common(path: str, operation: dict[str, Any]) -> set[int]:
    statuses = {400, 421, 500, 503}
    if not path.startswith("/api/"):
        return statuses
    statuses |= {406, 429}
    if path not in OAUTH_PATHS:
        # A bad token is refused everywhere, and so is an unknown parameter.
        statuses |= {401, 422}
    if needs_caller(operation):
        # An API key without the scope is refused, wherever it is taken for one.
        statuses |= {403}
    if "requestBody" in operation:
        statuses |= {408, 413, 415}
    return statuses


def needs_caller(operation: dict[str, Any]) -> bool:
    """Whether it requires credentials."""
    return {} not in (operation.get("security") or [{}])


@dataclass(frozen=True, slots=True)
class Operation:
    """What one operation accepts and offers, as its documentation says."""

    parameters: frozenset[str]
    accepts: frozenset[str]
    offers: frozenset[str]
    #: Fixed paths without this method. The router may take one for this operation's template:
    #: `PATCH /items/batch` is routed to `/items/{item_id}`, but /items/batch has no PATCH.
    elsewhere: frozenset[str]


class Contract:
    """The operations by method and path template, read from the document at first use."""

    def __init__(self, document: Callable[[], dict[str, Any]]) -> None:
        self._document = document
        self._operations: dict[tuple[str, str], Operation] = {}

    def read(self) -> None:
        """Ahead of the first request, which would hold the event loop for as long as building it takes."""
        if self._operations:
            return
        document = self._document()
        paths = document["paths"]
        self._operations = {
            (verb.upper(), each): _operation(
                document["components"],
                operation,
                frozenset(other for other in paths if "{" not in other and verb not in paths[other]),
            )
            for each, operations in paths.items()
            for verb, operation in operations.items()
        }

    def operation(self, method: str, template: str) -> Operation:
        """A route asks once, and remembers it."""
        self.read()
        return self._operations[method, template]


def _operation(components: dict[str, Any], operation: dict[str, Any], elsewhere: frozenset[str]) -> Operation:
    parameters = [resolved(components, each) for each in operation.get("parameters", ())]
    return Operation(
        frozenset(each["name"] for each in parameters if each["in"] == "query"),
        frozenset(operation.get("requestBody", {}).get("content", ())),
        # Of successes alone: a client that wants JSON may well delete something, which answers nothing.
        frozenset(
            media
            for status, answer in operation["responses"].items()
            if int(status) < 400
            for media in resolved(components, answer).get("content", ())
        ),
        elsewhere,
    )


def install(app: FastAPI, webhooks: Webhooks) -> Contract:
    """Give the application this document. The contract is read from it."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = build(app, webhooks)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return Contract(openapi)
