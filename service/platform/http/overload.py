"""Overload protection: bodies up to a size and for a time, requests up to the capacity of a process."""

import asyncio
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.platform.http import metrics
from service.platform.http.problems import PROBES, response
from service.platform.http.request_state import REFUSAL, Refusal, state_of

#: Requests in flight for each database connection. A request that waits behind sixteen others for
#: a connection would be answered too late to be of use; it is better sent elsewhere at once.
REQUESTS_PER_CONNECTION: Final = 16
#: For a body to come: a while, and for the largest as long as a bad connection of a phone takes. Each
#: request that waits for one has its place among those that the process takes on.
BODY_SECONDS: Final = 30.0
SLOWEST_BYTES_A_SECOND: Final = 32 * 1024


class BodyLimit:
    """413 for a body as soon as it has grown past `limit` bytes, 408 when it does not come in time, and the
    server's refusal of one that is malformed: each raised where the body is read. body.py checks the
    declared length and the limit of the route, after authorization.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit
        self.seconds = BODY_SECONDS + limit / SLOWEST_BYTES_A_SECOND

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        detail = f"The body is too large: send at most {self.limit} bytes."
        state, seen, complete = state_of(scope), 0, False
        deadline = asyncio.get_running_loop().time() + self.seconds

        async def counted_receive() -> Message:
            nonlocal seen, complete
            if complete:
                # What comes now is the end of the connection, whenever that is.
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                late = f"The body did not arrive within {self.seconds:.0f} seconds. Send it again."
                raise HTTPException(408, late, {"Connection": "close"}) from None
            refusal: Refusal | None = message.get(REFUSAL)
            if refusal is not None:
                raise HTTPException(refusal.status, refusal.detail, {"Connection": "close"})
            complete = not message.get("more_body", False)
            seen += len(message.get("body", b""))
            state.received_bytes = seen
            if seen > self.limit:
                raise HTTPException(413, detail, {"Connection": "close"})
            return message

        await self.app(scope, counted_receive, send)


class LoadShedding:
    """503 at once for requests over the capacity: they would wait in a queue that only grows.

    A stream holds nothing while it waits, so it stops counting as soon as it is open.
    """

    def __init__(self, app: ASGIApp, connections: int) -> None:
        self.app, self.capacity, self.running = app, connections * REQUESTS_PER_CONNECTION, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        if self.running >= self.capacity:
            metrics.requests_shed().inc()
            detail = "The service is over its capacity. Try again shortly."
            refusal = response(scope, 503, code="overloaded", detail=detail, headers={"Retry-After": "1"})
            await refusal(scope, receive, send)
            return
        self.running += 1
        metrics.IN_PROGRESS.value += 1
        inside = True

        def release() -> None:
            nonlocal inside
            self.running -= inside
            metrics.IN_PROGRESS.value -= inside
            inside = False

        state_of(scope).release = release
        try:
            await self.app(scope, receive, send)
        finally:
            release()
