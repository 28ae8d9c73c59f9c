"""Bodies that are too large for memory: the route class hands their pieces on as they come, before the
handler runs and outside of its transaction, and has removed what the handler has not taken.

    router = api_router("/imports", route_class=UploadRoute)

    @router.post("")
    @streamed_body(receive, discard)
    async def create_import(request: Request, ...) -> Import:
        upload = uploaded(request, Upload)
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from service.platform.database import Database
from service.platform.http.body import ReadRequest
from service.platform.http.injection import component
from service.platform.http.openapi import Operation
from service.platform.http.openapi_validation import refuse_content
from service.platform.http.request_state import state_of

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
T = TypeVar("T")


class Upload(Protocol):
    """What has become of a body."""

    @property
    def digest(self) -> bytes:
        """Of the whole: a request that is sent again under its key must have the same."""


#: Keeps the pieces; where they end with an error, nothing of them stays.
Receive = Callable[[Database, AsyncIterator[bytes]], Awaitable[Any]]
#: Removes what is kept of a body, unless the handler has taken it.
Discard = Callable[[Database, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Receiver:
    receive: Receive
    discard: Discard


_receivers: Final[dict[Callable[..., Any], Receiver]] = {}


def streamed_body(receive: Receive, discard: Discard) -> Callable[[Endpoint], Endpoint]:
    """Decorates a handler, below the router's own decorator. main.py has the limit of the path."""

    def declare(endpoint: Endpoint) -> Endpoint:
        _receivers[endpoint] = Receiver(receive, discard)
        return endpoint

    return declare


def receiver_of(endpoint: Callable[..., Any]) -> Receiver | None:
    return _receivers.get(endpoint)


async def discard(request: Request, receiver: Receiver | None) -> None:
    upload = state_of(request.scope).upload
    if receiver is not None and upload is not None:
        await receiver.discard(component(request, Database), upload)


def uploaded(request: Request, kind: type[T]) -> T:
    upload = getattr(request, "parsed", None)
    assert isinstance(upload, kind)  # noqa: S101 - the route has read the body
    return upload


class UploadReader:
    """Reads a body as `body.Reader` does, but for keeping it."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def read(self, request: Request, operation: Operation) -> ReadRequest:
        began, count = asyncio.get_running_loop().time(), 0

        async def pieces() -> AsyncIterator[bytes]:
            nonlocal count
            async for piece in request.stream():
                if piece:
                    refuse_content(request, operation)
                    count += 1
                    yield piece

        try:
            upload: Upload = await self._receiver.receive(component(request, Database), pieces())
        except ClientDisconnect:
            raise HTTPException(400, "The connection was closed before the body was complete.") from None
        state_of(request.scope).upload = upload
        seconds = asyncio.get_running_loop().time() - began
        read = ReadRequest(request, upload.digest, pieces=count, seconds=seconds)
        read.parsed = upload
        return read

    def parse(self, _: ReadRequest) -> None:
        """It is kept as it is."""
