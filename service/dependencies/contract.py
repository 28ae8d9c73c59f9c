"""What the framework lets pass and the contract does not: unknown parameters, other media types."""

from typing import Final

from fastapi import HTTPException, Request, Response
from fastapi.params import Depends as Dependency

from service.edge.context import route_template
from service.edge.openapi import Operation, acceptable
from service.edge.problems import LONGEST_POINTER, OAUTH_PATHS
from service.edge.response_cache import BUILT_FROM, Table
from service.errors import FieldFault, ServiceError, Unprocessable

#: More digits than any id has.
LONG_DIGITS: Final = 20


class UnsupportedMediaType(ServiceError):
    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class NotAcceptable(ServiceError):
    status, code, title = 406, "not_acceptable", "Not acceptable"


def honour_contract(request: Request) -> None:
    """Refuse what the operation's documentation does not name."""
    path = request.scope["path"]
    operation = request.app.state.parts.contract.operation(
        request.method, route_template(request.scope), path
    )
    if operation is None:
        raise HTTPException(405)
    if path not in OAUTH_PATHS:
        # Those ignore what they do not know (RFC 6749, section 3.2).
        _known_parameters(request, operation)
    _content_type(request, operation)
    accept = request.headers.get("Accept", "*/*")
    if operation.offers and not acceptable(accept, operation.offers):
        raise NotAcceptable(f"This address can answer with {', '.join(sorted(operation.offers))}.")


def _known_parameters(request: Request, operation: Operation) -> None:
    unknown = sorted(set(request.query_params) - operation.parameters)
    if unknown:
        detail = "This parameter is not known here."
        names = [name[:LONGEST_POINTER] for name in unknown[:20]]
        faults = tuple(FieldFault(f"?{name}", detail, "unknown_parameter") for name in names)
        raise Unprocessable("There are parameters that are not known here.", errors=faults)
    repeated = sorted(name for name in request.query_params if len(request.query_params.getlist(name)) > 1)
    if repeated:
        detail = "This parameter may be given once."
        raise Unprocessable(detail, errors=(FieldFault(f"?{repeated[0]}", detail, "repeated_parameter"),))


def _content_type(request: Request, operation: Operation) -> None:
    if not operation.accepts or not _has_body(request):
        return
    media = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media not in operation.accepts:
        accepted = sorted(operation.accepts)
        # RFC 5789, section 2.2.
        headers = {"Accept-Patch": ", ".join(accepted)} if request.method == "PATCH" else None
        raise UnsupportedMediaType(f"Send the body as {' or '.join(accepted)}.", headers=headers)


def _has_body(request: Request) -> bool:
    return request.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in request.headers


class PublicRead:
    """A dependency: any cache may keep the answer, and must ask before it uses it.

    Of a table alone, or of the row whose id the path's parameter `row` is, our own memory may keep it too.
    """

    def __init__(self, table: Table | None = None, row: str | None = None) -> None:
        self._table, self._row = table, row

    async def __call__(self, request: Request, response: Response) -> None:
        response.headers["Cache-Control"] = "no-cache"
        if self._table is not None:
            given = request.path_params[self._row] if self._row else ""
            # What is no id is refused later, and nothing is kept of refusals.
            row_id = int(given) if given.isdecimal() and len(given) < LONG_DIGITS else None
            request.scope["state"][BUILT_FROM] = (self._table, row_id)


for_any_cache: Final = PublicRead()


def built_from(table: Table, row: str | None = None) -> Dependency:
    """For the dependencies of a route."""
    return Dependency(PublicRead(table, row))
