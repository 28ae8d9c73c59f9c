"""Bodies: read by the class of the route, within its own bounds, when it is known who is calling."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from fastapi import HTTPException, Request
from fastapi.params import Form
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect

from service.platform.config import Settings
from service.platform.http.components import component
from service.platform.http.openapi import Operation
from service.platform.http.parsing import MOST_VALUES, MOST_VALUES_OF_LARGE, parse_form, parse_json
from service.platform.http.validation import content_length, refuse_content

#: More than any body needs but a batch's: 10,000 characters, each written as twelve (`\ud83d\ude00`).
MOST_BYTES: Final = 128 * 1024
#: What comes in one piece, and at once, leaves no time in which rights could end.
NOTICEABLE_SECONDS: Final = 0.02
LARGE: Final = "large_body"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def large_body(endpoint: Endpoint) -> Endpoint:
    """Decorates a handler whose body may be as large as MAX_BODY_BYTES."""
    vars(endpoint)[LARGE] = True
    return endpoint


class ReadRequest(Request):
    """A request whose body is here: the framework asks for no more of it, and parses nothing itself."""

    def __init__(self, request: Request, content: bytes, *, pieces: int, seconds: float) -> None:
        super().__init__(request.scope, request.receive)
        self.content = content
        #: Whether it was waited for, so that rights may have ended meanwhile.
        self.waited = pieces > 1 or seconds > NOTICEABLE_SECONDS
        self.parsed: Any = None

    async def body(self) -> bytes:
        return self.content

    async def json(self) -> Any:
        return self.parsed

    async def form(self, **_: Any) -> FormData:  # type: ignore[override]  # which is awaited too
        form: FormData = self.parsed
        return form


@dataclass(frozen=True, slots=True)
class Reader:
    """How the body of one operation is read: whether it is a form, and how much of it there may be."""

    is_form: bool
    is_large: bool

    @classmethod
    def of(cls, route: APIRoute) -> Self | None:
        """None for a route that takes no body."""
        if route.body_field is None:
            return None
        return cls(isinstance(route.body_field.field_info, Form), LARGE in vars(route.endpoint))

    async def read(self, request: Request, operation: Operation) -> ReadRequest:
        """The request with its body. Raises HTTPException 413 for more bytes than this needs."""
        limit = component(request, Settings).max_body_bytes
        most = limit if self.is_large else min(limit, MOST_BYTES)
        if (content_length(request) or 0) > most:
            raise _too_large(most)
        loop = asyncio.get_running_loop()
        began, size, pieces = loop.time(), 0, []
        try:
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    raise _too_large(most)
                if piece:
                    refuse_content(request, operation)
                    pieces.append(piece)
        except ClientDisconnect:
            raise HTTPException(400, "The connection was closed before the body was complete.") from None
        return ReadRequest(request, b"".join(pieces), pieces=len(pieces), seconds=loop.time() - began)

    def parse(self, request: ReadRequest) -> None:
        if self.is_form:
            request.parsed = parse_form(request.content)
        elif request.content:
            most = MOST_VALUES_OF_LARGE if self.is_large else MOST_VALUES
            request.parsed = parse_json(request.content, most)


def _too_large(most: int) -> HTTPException:
    # The rest of the body is not read, so the connection cannot serve another request.
    detail = f"The body is larger than the {most} bytes that are accepted here."
    return HTTPException(413, detail, {"Connection": "close"})
