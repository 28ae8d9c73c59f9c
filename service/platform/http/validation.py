"""What the framework lets pass and the contract does not: unknown parameters, other media types."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from fastapi import HTTPException, Request, Response

from service.errors import FieldFault, ServiceError, Unprocessable
from service.platform.http.accept import acceptable
from service.platform.http.components import component
from service.platform.http.context import route_template
from service.platform.http.openapi import Contract, Operation
from service.platform.http.problems import LONGEST_POINTER, OAUTH_PATHS
from service.platform.http.request_state import state_of
from service.platform.http.response_cache import Table

#: How a body may say that it is coded, and is not.
UNCODED: Final = ("", "identity")
#: Where a handler says that any cache may keep its answers.
PUBLIC: Final = "public_read"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class UnsupportedMediaType(ServiceError):
    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class NotAcceptable(ServiceError):
    status, code, title = 406, "not_acceptable", "Not acceptable"


def operation_of(request: Request) -> Operation:
    """What the operation's documentation says. Raises HTTPException 405 where there is none."""
    path, template = request.scope["path"], route_template(request.scope)
    operation = component(request, Contract).operation(request.method, template, path)
    if operation is None:
        raise HTTPException(405)
    return operation


def honour_contract(request: Request, operation: Operation) -> None:
    """Refuse what the documentation does not name."""
    if request.scope["path"] not in OAUTH_PATHS:
        # Those ignore what they do not know (RFC 6749, section 3.2).
        _known_parameters(request, operation)
    if operation.accepts and content_length(request):
        # Of a chunked body only its first piece tells that there is one.
        refuse_content(request, operation)
    accept = request.headers.get("Accept", "*/*")
    if operation.offers and not acceptable(accept, operation.offers):
        raise NotAcceptable(f"This address can answer with {', '.join(sorted(operation.offers))}.")


def _known_parameters(request: Request, operation: Operation) -> None:
    unknown = sorted(set(request.query_params) - operation.parameters)
    if unknown:
        detail = "Unknown parameter: correct its name or leave it out."
        names = [name[:LONGEST_POINTER] for name in unknown[:20]]
        faults = tuple(FieldFault(f"?{name}", detail, "unknown_parameter") for name in names)
        raise Unprocessable("Unknown parameters: correct their names or leave them out.", errors=faults)
    repeated = sorted(name for name in request.query_params if len(request.query_params.getlist(name)) > 1)
    if repeated:
        detail = "Send this parameter once."
        raise Unprocessable(detail, errors=(FieldFault(f"?{repeated[0]}", detail, "repeated_parameter"),))


def content_length(request: Request) -> int | None:
    """How long the body is said to be. None: nobody knows yet, or the number is none."""
    declared = request.headers.get("Content-Length", "")
    return int(declared) if declared.isascii() and declared.isdecimal() else None


def refuse_content(request: Request, operation: Operation) -> None:
    """Raises UnsupportedMediaType for a body of another type, or one that is compressed."""
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if coding not in UNCODED:
        # RFC 9110, section 15.5.16.
        detail = "Send the body as it is: no Content-Encoding is accepted."
        raise UnsupportedMediaType(detail, headers={"Accept-Encoding": "identity"})
    media = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media not in operation.accepts:
        accepted = sorted(operation.accepts)
        # RFC 5789, section 2.2.
        headers = {"Accept-Patch": ", ".join(accepted)} if request.method == "PATCH" else None
        raise UnsupportedMediaType(f"Send the body as {' or '.join(accepted)}.", headers=headers)


@dataclass(frozen=True)
class PublicRead:
    """Any cache may keep the answers of a handler, and must ask before it uses one.

    Of a table alone, or of the row whose id the path's parameter `row` is, our own memory may keep them too.
    """

    table: Table | None = None
    row: str | None = None

    def __call__(self, endpoint: Endpoint) -> Endpoint:
        vars(endpoint)[PUBLIC] = self
        return endpoint

    @staticmethod
    def of(endpoint: Callable[..., Any]) -> "PublicRead | None":
        said: PublicRead | None = vars(endpoint).get(PUBLIC)
        return said

    def declare(self, request: Request, response: Response) -> None:
        if "Cache-Control" in response.headers:
            return  # the handler knows better
        response.headers["Cache-Control"] = "no-cache"
        if self.table is not None:
            row_id = int(request.path_params[self.row]) if self.row else None
            state_of(request.scope).cache_source = (self.table, row_id)


for_any_cache: Final = PublicRead()


def built_from(table: Table, row: str | None = None) -> PublicRead:
    """Decorates the handler of a route, below the router's own."""
    return PublicRead(table, row)
