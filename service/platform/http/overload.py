"""Overload protection: bodies up to a size and for a time, requests up to the capacity of a process."""

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Overloaded
from service.platform.http import metrics
from service.platform.http.problems import PROBES, response
from service.platform.http.request_state import REFUSAL, Place, Refusal, state_of

#: Requests in flight for each database connection. A request that waits behind sixteen others for
#: a connection would be answered too late to be of use; it is better sent elsewhere at once.
REQUESTS_PER_CONNECTION: Final = 16
OVERLOADED: Final = "The service is over its capacity. Try again shortly."
#: For a body to come: a while, and for the largest as long as a bad connection of a phone takes.
BODY_SECONDS: Final = 30.0
SLOWEST_BYTES_A_SECOND: Final = 32 * 1024
#: Requests whose bodies are still coming. Of more, the one that has waited longest is refused: there are so
#: many only when clients send slowly on purpose, and each may hold as much memory as its body is large.
MOST_COMING: Final = 512


class Coming:
    """A body that is coming, and the limit of the time for which its next part is waited for."""

    limit: asyncio.Timeout | None = None
    refused = False

    def refuse(self) -> None:
        self.refused = True
        if self.limit is not None:
            self.limit.reschedule(asyncio.get_running_loop().time())


class BodyLimit:
    """413 for a body as soon as it has grown past `limit` bytes, 408 when it does not come in time, and the
    server's refusal of one that is malformed: each raised where the body is read. body.py checks the
    declared length and the limit of the route, after authorization.

    While a body is waited for, its request is not among those that the process takes on: it needs nothing
    but memory, and clients that send slowly would keep all others out.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit
        self.seconds = BODY_SECONDS + limit / SLOWEST_BYTES_A_SECOND
        #: By the time at which they began.
        self.coming: dict[Coming, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        detail = f"The body is too large: send at most {self.limit} bytes."
        state, seen, complete, coming = state_of(scope), 0, False, Coming()
        deadline = asyncio.get_running_loop().time() + self.seconds

        async def counted_receive() -> Message:
            nonlocal seen, complete
            if complete:
                # What comes now is the end of the connection, whenever that is.
                return await receive()
            message = await self._next(receive, coming, deadline, state.place)
            refusal: Refusal | None = message.get(REFUSAL)
            if refusal is not None:
                raise HTTPException(refusal.status, refusal.detail, {"Connection": "close"})
            complete = not message.get("more_body", False)
            if complete:
                self.coming.pop(coming, None)
            seen += len(message.get("body", b""))
            state.received_bytes = seen
            if seen > self.limit:
                raise HTTPException(413, detail, {"Connection": "close"})
            return message

        try:
            await self.app(scope, counted_receive, send)
        finally:
            self.coming.pop(coming, None)

    async def _next(self, receive: Receive, coming: Coming, deadline: float, place: Place | None) -> Message:
        held = place is not None and place.held
        if place is not None:
            place.leave()
        self._admit(coming)
        try:
            async with asyncio.timeout_at(deadline) as coming.limit:
                message = await receive()
        except TimeoutError:
            if coming.refused:
                raise _overloaded({"Connection": "close"}) from None
            late = f"The body did not arrive within {self.seconds:.0f} seconds. Send it again."
            raise HTTPException(408, late, {"Connection": "close"}) from None
        finally:
            coming.limit = None
        if held and place is not None and not place.take():
            raise _overloaded()
        return message

    def _admit(self, coming: Coming) -> None:
        self.coming[coming] = None
        if len(self.coming) > MOST_COMING:
            longest = next(iter(self.coming))
            del self.coming[longest]
            longest.refuse()


def shed(scope: Scope) -> Response:
    """The response to a request over the capacity."""
    return response(scope, 503, code="overloaded", detail=OVERLOADED, headers={"Retry-After": "1"})


def _overloaded(headers: Mapping[str, str] | None = None) -> Overloaded:
    error = Overloaded(OVERLOADED)
    error.headers = {**error.headers, **(headers or {})}
    return error


class Load:
    """How many requests a process has taken on, and how many it takes on at most."""

    def __init__(self, connections: int) -> None:
        self.capacity, self.running = connections * REQUESTS_PER_CONNECTION, 0
        #: Requests for which the application has not run yet.
        self._coming = 0

    @property
    def is_full(self) -> bool:
        return self.running >= self.capacity

    @property
    def will_be_full(self) -> bool:
        return self.running + self._coming >= self.capacity

    def expect(self) -> None:
        """A request is about to come. It counts among the running ones when the event loop comes round."""
        if not self._coming:
            asyncio.get_running_loop().call_soon(self._came)
        self._coming += 1

    def _came(self) -> None:
        self._coming = 0


class RunningRequest:
    """A place among those that the process takes on."""

    __slots__ = ("_load", "held")

    def __init__(self, load: Load) -> None:
        self._load, self.held = load, False

    def take(self) -> bool:
        """Whether there was one; a request that gets none is counted as shed."""
        if self._load.is_full:
            metrics.requests_shed().inc()
            return False
        self.held = True
        self._load.running += 1
        metrics.IN_PROGRESS.value += 1
        return True

    def leave(self) -> None:
        if self.held:
            self.held = False
            self._load.running -= 1
            metrics.IN_PROGRESS.value -= 1


class LoadShedding:
    """503 at once for requests over the capacity: they would wait in a queue that only grows.

    A request stops counting when its response begins: from then on it waits for its client alone, and a
    stream for as long as that likes. It does not count either while its body is coming.
    """

    def __init__(self, app: ASGIApp, connections: int = 0, *, load: Load | None = None) -> None:
        self.app, self.load = app, load or Load(connections)

    @property
    def running(self) -> int:
        return self.load.running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        place = RunningRequest(self.load)
        if not place.take():
            await shed(scope)(scope, receive, send)
            return
        state_of(scope).place = place

        async def leaving_send(message: Message) -> None:
            place.leave()
            await send(message)

        try:
            await self.app(scope, receive, leaving_send)
        finally:
            place.leave()
