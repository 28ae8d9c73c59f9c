"""The application on a real port of this process, and a client of its streams."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx2
import uvicorn
from prometheus_client import REGISTRY
from starlette.types import ASGIApp

from service.platform.server.http1.protocol import Protocol
from tests.helpers.client import V1
from tests.helpers.factories import Person

PATIENCE_SECONDS = 30.0
ENDED = "notification_streams_ended_total"


@asynccontextmanager
async def served(app: ASGIApp, *, keep_alive: int = 5) -> AsyncIterator[str]:
    """Its URL. The lifespan is the caller's; a test client in memory would wait for the end of a stream."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app,
            http=Protocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=keep_alive,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server._serve([listener]))
        while not server.started:  # noqa: ASYNC110 - it is Uvicorn's flag
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


@dataclass
class Event:
    """One block of a stream."""

    id: str | None = None
    event: str | None = None
    data: Any = None
    retry: int | None = None
    comments: list[str] = field(default_factory=list)


class Listening:
    """A stream that is open. The first block, which says where it begins, is read already."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()
        self.opening = Event()

    async def block(self) -> Event | None:
        """The next one; None at the end of the stream."""
        found, read = Event(), False
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in self._lines:
                if not line:
                    return found
                read = True
                _add(found, line)
        assert not read, f"cut off inside of {found}"
        return None

    async def event(self) -> Event:
        """The next notification, past any comment."""
        while True:
            found = await self.block()
            assert found is not None, "the stream has ended"
            if found.event is not None:
                return found

    async def titles(self, count: int) -> list[str]:
        return [(await self.event()).data["title"] for _ in range(count)]

    async def rest(self) -> list[Event]:
        """All that comes, to the end."""
        found = []
        while (block := await self.block()) is not None:
            found.append(block)
        return found


def _add(event: Event, line: str) -> None:
    name, _, value = line.partition(":")
    value = value.removeprefix(" ")
    if name == "":
        event.comments.append(value)
    elif name == "data":
        event.data = json.loads(value)
    elif name == "retry":
        event.retry = int(value)
    else:
        assert name in ("id", "event"), line
        setattr(event, name, value)


@asynccontextmanager
async def listening(
    url: str,
    token: str | None = None,
    *,
    after: int | None = None,
    ticket: str | None = None,
    query: dict[str, Any] | None = None,
) -> AsyncIterator[Listening]:
    """Closing it is leaving."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"Last-Event-ID": str(after)} if after is not None else {}
    params = {**({"ticket": ticket} if ticket is not None else {}), **(query or {})}
    async with (
        httpx2.AsyncClient(timeout=PATIENCE_SECONDS) as client,
        client.stream("GET", f"{url}{V1}/notifications/stream", headers=headers, params=params) as answer,
    ):
        if answer.status_code != 200:
            await answer.aread()
            raise AssertionError(f"{answer.status_code}: {answer.text}")
        opened = Listening(answer)
        opening = await opened.block()
        assert opening is not None
        opened.opening = opening
        yield opened


async def notify(
    sql: asyncpg.Connection, person: Person, *titles: str, drawn: int | None = None
) -> list[int]:
    """Add notifications by a plain statement, perhaps with an id drawn before; their ids."""
    column, value = ("", "") if drawn is None else (", id", f", {drawn}")
    statement = f"""INSERT INTO notifications (user_id, kind, title, body{column})
                    VALUES ($1, 'order.shipped', $2, 'On its way.'{value}) RETURNING id"""
    return [await sql.fetchval(statement, person.id, title) for title in titles]


async def ticket_of(person: Person) -> str:
    answer = await person.api.post("/notifications/stream-ticket")
    assert answer.status_code == 200, answer.text
    ticket: str = answer.json()["ticket"]
    return ticket


async def reason_of_end(stream: Listening) -> str:
    """What the last comment says."""
    blocks = await stream.rest()
    return blocks[-1].comments[0]


def gauge(opened_by: str) -> float:
    return REGISTRY.get_sample_value("notification_streams", {"opened_by": opened_by}) or 0
