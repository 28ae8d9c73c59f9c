"""Long polls: a handler that waits for something to happen before it answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from service.platform.http import access
from service.platform.http.request_state import Caller, caller_of, state_of


class WaitingClient:
    """The client of a request that may wait."""

    def __init__(self, request: Request) -> None:
        self._request = request

    async def confirm(self) -> Caller | None:
        """The caller with the rights of now. Raises Unauthenticated or Forbidden when access has ended."""
        await access.confirm(self._request)
        return caller_of(self._request)

    @asynccontextmanager
    async def waiting(self, left: Callable[[], None]) -> AsyncIterator[None]:
        """Around the wait. `left` is called when the client leaves.

        From here on the request is not among those that the process takes on: as a stream, it needs nothing
        but memory. Nor does its duration say how quick the service is.
        """
        state = state_of(self._request.scope)
        state.streamed = True
        if state.place is not None:
            state.place.leave()
        noticing = asyncio.create_task(self._notice(left), name="waiting client")
        try:
            yield
        finally:
            noticing.cancel()

    async def _notice(self, left: Callable[[], None]) -> None:
        # More of a body than is accepted, where none is wanted, is as good as leaving.
        with suppress(HTTPException):
            while (await self._request.receive())["type"] != "http.disconnect":
                pass
        left()


async def get_waiting_client(request: Request) -> WaitingClient:
    return WaitingClient(request)


WaitingClientDep = Annotated[WaitingClient, Depends(get_waiting_client)]
