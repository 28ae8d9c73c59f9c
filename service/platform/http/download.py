"""Long responses that are read from their source while the client takes them: nothing is held meanwhile but
what is under way.

A response that ends before it is whole is broken off: it lacks its last chunk (RFC 9112, section 7.1), which
every client of HTTP/1.1 reports as an error.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, Literal, Protocol

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.platform.http.request_state import state_of
from service.platform.http.sse import ABORT, LAST_SECONDS

#: How the sum of a download's pieces came to its end; only the first is the whole of it.
WHOLE: Final = "whole"


class Source(Protocol):
    """Where the pieces come from."""

    @property
    def ended(self) -> str | None:
        """Why it has ended, if it has."""

    async def next(self) -> bytes | None:
        """The next piece; None at the end."""

    def patience(self) -> AbstractAsyncContextManager[None]:
        """Around each send. Raises TimeoutError when the client does not take it."""

    def end(self, reason: Literal["left", "stopping", "stalled"], /) -> None: ...

    async def close(self) -> None: ...


class Download(Response):
    """The source is closed with the response."""

    def __init__(self, source: Source, headers: Mapping[str, str]) -> None:
        # Without a body there is no Content-Length.
        self.source, self.status_code, self.background = source, 200, None
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = state_of(scope)
        state.streamed = True
        noticing = asyncio.create_task(self._notice(receive), name="download's client")
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if state.is_head:
                self.source.end("left")
            else:
                await self._send_pieces(send)
            if state.is_head or self.source.ended == WHOLE:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await self._break_off(scope, noticing)
        except asyncio.CancelledError:
            # The graceful timeout is over.
            self.source.end("stopping")
            await self._break_off(scope, noticing)
        except TimeoutError:
            self.source.end("stalled")
            await self._break_off(scope, noticing)
        finally:
            noticing.cancel()
            await self.source.close()

    async def _send_pieces(self, send: Send) -> None:
        while (piece := await self.source.next()) is not None:
            async with self.source.patience():
                await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _notice(self, receive: Receive) -> None:
        # More of a body than is accepted, where none is wanted, is as good as leaving.
        with suppress(HTTPException):
            while (await receive())["type"] != "http.disconnect":
                pass
        self.source.end("left")

    @staticmethod
    async def _break_off(scope: Scope, noticing: asyncio.Task[None]) -> None:
        """Close the connection once the client has taken what was sent, for which it has a moment."""
        extension = scope.get("extensions", {}).get(ABORT)
        if extension is None:
            return
        for end in (extension["close"], extension["abort"]):
            if not noticing.done():
                end()
                await asyncio.wait((noticing,), timeout=LAST_SECONDS)
