"""Conditional requests (RFC 9110, section 13): nothing is sent twice, and nothing unread is overwritten."""

import hashlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request, Response

from service.accounts.schemas import User
from service.catalogue.schemas import Item
from service.errors import PreconditionFailed, PreconditionRequired
from service.orders.schemas import Order
from service.platform.http.listing import NEXT_UPDATED_SINCE
from service.platform.http.response_cache import BUILT_FROM, KEPT_HERE, REPEATED
from service.platform.http.versions import Versioned, Versions, but_those_in, has_already, versions_in
from service.posts.schemas import Post

IF_MATCH: Final = "If-Match"
IF_NONE_MATCH: Final = "If-None-Match"

Condition = Callable[..., Awaitable[Versions | None]]


def if_match(model: type[Versioned]) -> Condition:
    """The versions that the client wants to change, or None for whatever is there."""

    async def get_versions(
        request: Request,
        header: Annotated[
            str | None,
            Header(
                alias=IF_MATCH,
                description="The `ETag` that was read, in its double quotes: 412 if it is another by now.",
                # For the documentation: what is refused is up to versions_in, which takes any list of tags.
                json_schema_extra={"pattern": r'^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$'},
            ),
        ] = None,
    ) -> Versions | None:
        versions = None if header is None else versions_in(header, model)
        unwanted = request.headers.get(IF_NONE_MATCH)
        return versions if unwanted is None else but_those_in(unwanted, versions, model)

    return get_versions


def required_if_match(model: type[Versioned]) -> Condition:
    """The same, where nobody may change what they have not read."""
    condition = if_match(model)

    async def get_required_versions(
        request: Request, versions: Annotated[Versions | None, Depends(condition)]
    ) -> Versions | None:
        if IF_MATCH not in request.headers:
            raise PreconditionRequired(
                "Send the ETag that you have read in If-Match, or * to change whatever is there."
            )
        return versions

    return get_required_versions


IfItem = Annotated[Versions | None, Depends(if_match(Item))]
IfItemRequired = Annotated[Versions | None, Depends(required_if_match(Item))]
IfOrder = Annotated[Versions | None, Depends(if_match(Order))]
IfPost = Annotated[Versions | None, Depends(if_match(Post))]
IfUser = Annotated[Versions | None, Depends(if_match(User))]


def conditional(endpoint: Callable[..., Any]) -> bool:
    """Whether the endpoint itself asks which version is to be changed."""
    asked = inspect.signature(endpoint).parameters.values()
    return any(each.annotation in (IfItem, IfItemRequired, IfOrder, IfPost, IfUser) for each in asked)


def require_absence(request: Request) -> None:
    """Who sends `If-None-Match: *` wants to make what is not there: nothing is made by these methods."""
    if request.method != "POST" and request.headers.get(IF_NONE_MATCH, "").strip() == "*":
        raise PreconditionFailed


def answered(request: Request, response: Response) -> Response:
    """The answer to a GET, or 304 without it for who has it already."""
    if response.status_code != 200:
        return response
    headers = response.headers
    if "ETag" not in headers and (
        headers.get("Cache-Control") == "no-cache" or NEXT_UPDATED_SINCE in headers
    ):
        # What any cache may keep must have one: a list's is made of the rows that are shown, and of where
        # it goes on.
        goes_on = headers.get("Link", "") + headers.get(NEXT_UPDATED_SINCE, "")
        headers["ETag"] = _digest(bytes(response.body), goes_on)
    wanted, state = request.headers.get(IF_NONE_MATCH), request.scope["state"]
    if wanted is None or "ETag" not in headers or (KEPT_HERE in state and BUILT_FROM in state):
        return response
    if not has_already(wanted, headers["ETag"]):
        return response
    repeated = {name.decode(): value.decode() for name, value in headers.raw if name in REPEATED}
    return Response(status_code=304, headers=repeated)


def _digest(body: bytes, goes_on: str) -> str:
    return f'"{hashlib.sha256(goes_on.encode() + b" " + body).hexdigest()[:32]}"'
