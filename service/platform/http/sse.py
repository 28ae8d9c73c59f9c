"""Server-sent events (WHATWG HTML, section 9.2). A stream holds nothing while there are none.

The framework's own would set a Cache-Control beside ours, and keep four tasks and two queues for each
stream; this is one task beside the request's, which notices that the client has left.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, Literal, Protocol

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.platform.http.request_state import state_of

#: An extension of the ASGI scope, by our own server: breaks the connection off.
ABORT: Final = "tradepost.abort"
#: How long a client waits before it comes again, in milliseconds.
RETRY_MS: Final = 3_000
#: When the process ends, all its clients come at once: they are spread over so long.
RETRY_SPREAD_MS: Final = (500, 5_000)
PING: Final = b": still here\n\n"
#: What a client gets to accept what is sent when the stream ends.
LAST_SECONDS: Final = 0.5


class Event(Protocol):
    @property
    def id(self) -> int: ...

    def model_dump_json(self, *, ensure_ascii: bool) -> str: ...


class Source(Protocol):
    """Where the events come from."""

    @property
    def last(self) -> int:
        """The id of the last event that was sent."""

    @property
    def ended(self) -> str | None:
        """Why it has ended, if it has."""

    async def next(self) -> Sequence[Event] | None:
        """What is new; nothing after a long silence; None at the end."""

    def patience(self) -> AbstractAsyncContextManager[None]:
        """Around each send. Raises TimeoutError when the client does not take it."""

    def end(self, reason: Literal["left", "stopping", "stalled"], /) -> None: ...

    def close(self) -> None: ...


class EventStream(Response):
    media_type = "text/event-stream"

    def __init__(self, stream: Source, *, event: str) -> None:
        # Without a body there is no Content-Length.
        self.stream, self.event, self.status_code, self.background = stream, event, 200, None
        self.init_headers({"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = state_of(scope)
        state.streamed = True
        noticing = asyncio.create_task(self._notice(receive), name="stream's client")
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if not state.is_head:
                await self._send_events(send)
            await self._send(send, b"", more=False)
        except asyncio.CancelledError:
            # The graceful timeout is over: the client learns that the stream ends, and need not find out.
            self.stream.end("stopping")
            with suppress(TimeoutError):
                await self._send(send, self._goodbye(), more=False)
        except TimeoutError:
            self.stream.end("stalled")
            if ABORT in scope.get("extensions", {}):
                scope["extensions"][ABORT]["abort"]()
                await asyncio.wait((noticing,), timeout=LAST_SECONDS)
        finally:
            noticing.cancel()
            self.stream.close()

    async def _send_events(self, send: Send) -> None:
        await self._send(send, f"retry: {RETRY_MS}\nid: {self.stream.last}\n\n".encode())
        while (found := await self.stream.next()) is not None:
            await self._send(send, self._events(found) if found else PING)
        if self.stream.ended != "left":
            await self._send(send, self._goodbye())

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        async with self.stream.patience():
            await send({"type": "http.response.body", "body": body, "more_body": more})

    async def _notice(self, receive: Receive) -> None:
        # More of a body than is accepted, where none is wanted, is as good as leaving.
        with suppress(HTTPException):
            while (await receive())["type"] != "http.disconnect":
                pass
        self.stream.end("left")

    def _goodbye(self) -> bytes:
        retry = random.randint(*RETRY_SPREAD_MS) if self.stream.ended == "stopping" else RETRY_MS  # noqa: S311
        return f": {self.stream.ended}\nretry: {retry}\n\n".encode()

    def _events(self, events: Sequence[Event]) -> bytes:
        # In ASCII: many a client takes U+2028 and U+0085 for the end of a line.
        return "".join(
            f"id: {each.id}\nevent: {self.event}\ndata: {each.model_dump_json(ensure_ascii=True)}\n\n"
            for each in events
        ).encode()
