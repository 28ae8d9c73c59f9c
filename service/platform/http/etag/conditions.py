"""Conditional requests (RFC 9110, section 13): If-None-Match and If-Match."""

import hashlib
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Final, get_args

from fastapi import Header, Request, Response, params

from service.errors import PreconditionFailed, PreconditionRequired
from service.platform.http.etag.versions import (
    NOT_MODIFIED_HEADERS,
    Versioned,
    Versions,
    but_those_in,
    has_already,
    versions_in,
)
from service.platform.http.listing import NEXT_UPDATED_SINCE
from service.platform.http.request_state import state_of

IF_MATCH: Final = "If-Match"
IF_NONE_MATCH: Final = "If-None-Match"


class IfMatch:
    """A dependency: the versions that the client wants to change, or None for any.

        IfItem = Annotated[Versions | None, Depends(IfMatch(Item))]

    `required`: no client may change what it has not read.
    """

    def __init__(self, model: type[Versioned], *, required: bool = False) -> None:
        self.model, self.required = model, required

    async def __call__(
        self,
        request: Request,
        header: Annotated[
            str | None,
            Header(
                alias=IF_MATCH,
                description="The `ETag` of the version that you read, in double quotes. The response is 412"
                " if the resource has changed since.",
                # For the documentation: what is refused is up to versions_in, which takes any list of tags.
                json_schema_extra={"pattern": r'^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$'},
            ),
        ] = None,
    ) -> Versions | None:
        if header is None and self.required:
            raise PreconditionRequired(
                "Send If-Match with the ETag of the version that you read, or with * to change any version."
            )
        versions = None if header is None else versions_in(header, self.model)
        unwanted = request.headers.get(IF_NONE_MATCH)
        return versions if unwanted is None else but_those_in(unwanted, versions, self.model)


def conditional(endpoint: Callable[..., Any]) -> bool:
    """Whether the endpoint itself asks which version is to be changed."""
    annotations = (each.annotation for each in inspect.signature(endpoint).parameters.values())
    marks = (mark for annotation in annotations for mark in get_args(annotation)[1:])
    return any(isinstance(mark, params.Depends) and isinstance(mark.dependency, IfMatch) for mark in marks)


def require_absence(request: Request) -> None:
    """`If-None-Match: *` asks to create what does not exist, which PUT, PATCH and DELETE never do."""
    if request.headers.get(IF_NONE_MATCH, "").strip() == "*":
        raise PreconditionFailed


def not_modified(request: Request, response: Response) -> Response:
    """The response to a GET, or 304 in its place for a client that has it already."""
    if response.status_code != 200:
        return response
    headers = response.headers
    if "ETag" not in headers and (
        headers.get("Cache-Control") == "no-cache" or NEXT_UPDATED_SINCE in headers
    ):
        # What any cache may store must have a tag: a list's is a digest of its rows and of the next page.
        goes_on = headers.get("Link", "") + headers.get(NEXT_UPDATED_SINCE, "")
        headers["ETag"] = _digest(bytes(response.body), goes_on)
    wanted = request.headers.get(IF_NONE_MATCH)
    if wanted is None or "ETag" not in headers or state_of(request.scope).will_be_cached:
        return response
    if not has_already(wanted, headers["ETag"]):
        return response
    repeated = {name.decode(): value.decode() for name, value in headers.raw if name in NOT_MODIFIED_HEADERS}
    return Response(status_code=304, headers=repeated)


def _digest(body: bytes, goes_on: str) -> str:
    return f'"{hashlib.sha256(goes_on.encode() + b" " + body).hexdigest()[:32]}"'
