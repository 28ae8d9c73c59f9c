"""Problem details (RFC 9457) for every error; OAuth's form where RFC 6749 requires it."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Scope

from service.errors import FieldFault, ServiceError
from service.platform.http.field_errors import code_of, message
from service.platform.http.request_state import API_PREFIX, state_of

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
#: Neither logged nor counted: probes would outnumber the requests of clients.
PROBES: Final = frozenset({"/livez", "/readyz", "/startupz", "/health"})
#: Errors of these have the form of RFC 6749, section 5.2.
OAUTH_PATHS: Final = (f"{API_PREFIX}/auth/token", f"{API_PREFIX}/auth/revoke")
#: The codes of errors that FastAPI raises; each status has exactly one.
CODES: Final = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "request_timeout",
    413: "body_too_large",
    414: "target_too_long",
    415: "unsupported_media_type",
    421: "misdirected_request",
    422: "invalid_input",
    429: "too_many_requests",
    431: "headers_too_large",
    500: "internal_error",
    501: "not_implemented",
    503: "unavailable",
    505: "http_version_not_supported",
}
#: The code on the OAuth endpoints, where the error's own is not one of RFC 6749's.
OAUTH_CODES: Final = {429: "slow_down", 500: "server_error", 503: "temporarily_unavailable"}
RFC6749_CODES: Final = frozenset(
    {"invalid_grant", "unsupported_grant_type", "invalid_scope", "invalid_client"}
)
#: Names of unknown fields come from the client: a response must not be longer than its request.
MOST_FAULTS: Final = 50
LONGEST_POINTER: Final = 200
DETAILS: Final = {
    404: "No resource has this path. Check the path.",
    405: "This path does not support the method. Use one that the header Allow lists.",
    500: "The service failed to process the request. Report the request id in `instance` to the operator.",
}


def response(
    scope: Scope,
    status: int,
    *,
    code: str | None = None,
    title: str | None = None,
    detail: str = "",
    errors: Sequence[FieldFault] = (),
    omitted: int = 0,
    headers: dict[str, str] | None = None,
    extra: dict[str, Any] | None = None,
) -> Response:
    """The response for one error. Any middleware may call this, whatever has happened so far.

    `omitted`: how many faults there are beside `errors`.
    """
    code = code or CODES.get(status, "error")
    state = state_of(scope)
    state.problem_code = code
    if scope["path"].rstrip("/") in OAUTH_PATHS:
        return _oauth(status, code, detail, errors, headers)
    document: dict[str, Any] = {
        "type": f"urn:tradepost:problem:{code}",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail or DETAILS.get(status, HTTPStatus(status).description or HTTPStatus(status).phrase),
        "instance": state.request_id,
        "code": code,
    }
    if errors:
        document["errors"] = [
            {"pointer": fault.pointer, "detail": fault.detail, "code": fault.code}
            for fault in errors[:MOST_FAULTS]
        ]
    omitted += max(len(errors) - MOST_FAULTS, 0)
    if omitted:
        document["detail"] += f" `errors` lists the first {MOST_FAULTS} of {MOST_FAULTS + omitted} faults."
        document["errors_omitted"] = omitted
    document.update(extra or {})
    return Response(json.dumps(document), status, headers, MEDIA_TYPE)


def _oauth(
    status: int, code: str, detail: str, errors: Sequence[FieldFault], headers: dict[str, str] | None
) -> Response:
    error = code if code in RFC6749_CODES else OAUTH_CODES.get(status, "invalid_request")
    faults = "; ".join(f"{fault.pointer.lstrip('/')}: {fault.detail}" for fault in errors)
    described = detail or faults or DETAILS.get(status, HTTPStatus(status).phrase)
    # RFC 6749 knows a bad request where ours knows invalid input.
    status = 400 if status == 422 else status
    document = {"error": error, "error_description": described.replace('"', "'").replace("\\", "/")}
    return Response(json.dumps(document), status, headers, "application/json")


def answer(request: Request, error: Exception) -> Response:
    """The response for a service error, or for one that the framework has raised."""
    if isinstance(error, ServiceError):
        return _of_service_error(request.scope, error)
    if isinstance(error, RequestValidationError):
        return _of_invalid(request.scope, error)
    assert isinstance(error, HTTPException)  # noqa: S101 - it is asked for these three kinds alone
    return _of_http_exception(request, error)


def _of_service_error(scope: Scope, error: ServiceError) -> Response:
    return response(
        scope,
        error.status,
        code=error.code,
        title=error.title,
        detail=error.detail,
        errors=error.errors,
        headers=error.headers,
        extra=error.extra,
    )


def _of_invalid(scope: Scope, error: RequestValidationError) -> Response:
    """Name each faulty field, and never show what was submitted: it may be a password."""
    raw = error.errors()
    shown = raw[:MOST_FAULTS]
    faults = tuple(FieldFault(_pointer(fault["loc"]), message(fault), code_of(fault)) for fault in shown)
    detail = "; ".join(f"{fault.pointer or 'body'}: {fault.detail}" for fault in faults[:3])
    if (more := len(raw) - 3) > 0:
        detail += f"; and {more} more."
    omitted = len(raw) - len(shown)
    return response(scope, 422, title="Invalid input", detail=detail, errors=faults, omitted=omitted)


def _pointer(location: Sequence[int | str]) -> str:
    place, *rest = (str(part) for part in location)
    if place == "body":
        return pointer_to(rest)
    name = rest[0] if rest else place
    return {"path": f"{{{name}}}", "query": f"?{name}"}.get(place, name)


def pointer_to(path: Sequence[int | str]) -> str:
    """A JSON pointer (RFC 6901) to a place in the body, cut where the client has made it too long."""
    parts = (str(part)[:LONGEST_POINTER].replace("~", "~0").replace("/", "~1") for part in path)
    return "".join("/" + part for part in parts)[:LONGEST_POINTER]


def _of_http_exception(request: Request, error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(allowed(request.app, request.scope["path"])))
    phrase = HTTPStatus(error.status_code).phrase
    detail = "" if error.detail == phrase else str(error.detail)
    return response(request.scope, error.status_code, detail=detail, headers=headers)


def allowed(app: FastAPI, path: str) -> set[str]:
    """Every method that the address knows; the framework's own `Allow` names the first match's only."""
    methods: dict[str, set[str]] = {}
    for route in app.routes:
        if isinstance(route, Route) and route.methods and route.path_regex.match(path):
            methods.setdefault(route.path_format, set()).update(route.methods)
    # /items/batch fits /items/{item_id} too, but is an address of its own.
    known = methods.get(path) or next(iter(methods.values()), set())
    return known | ({"HEAD"} if "GET" in known else set())


def install(app: FastAPI) -> None:
    """For what is raised outside of our routes, such as a path that none has."""

    async def on_error(request: Request, error: Exception) -> Response:
        return answer(request, error)

    for kind in (ServiceError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, on_error)
