"""A client of exports on a real port: pieces as they come, and whether the end was there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from tests.helpers.client import V1
from tests.helpers.streaming import PATIENCE_SECONDS


class Reading:
    """A response that is being read. `body` is what has come so far."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer, self.body = answer, bytearray()
        self._pieces = answer.aiter_raw()

    @property
    def until(self) -> int:
        return int(self.answer.headers["Export-Until-Id"])

    async def piece(self) -> bytes:
        piece = await anext(self._pieces)
        self.body += piece
        return piece

    async def rest(self) -> bool:
        """Read on; whether the response was whole, by the rules of HTTP."""
        try:
            async for piece in self._pieces:
                self.body += piece
        except (httpx2.RemoteProtocolError, httpx2.ReadError):
            return False
        return True


@asynccontextmanager
async def exporting(url: str, token: str, path: str, **query: Any) -> AsyncIterator[Reading]:
    """Closing it is leaving."""
    async with (
        httpx2.AsyncClient(timeout=PATIENCE_SECONDS) as client,
        client.stream(
            "GET", f"{url}{V1}/exports/{path}", headers={"Authorization": f"Bearer {token}"}, params=query
        ) as answer,
    ):
        if answer.status_code != 200:
            await answer.aread()
            raise AssertionError(f"{answer.status_code}: {answer.text}")
        yield Reading(answer)
