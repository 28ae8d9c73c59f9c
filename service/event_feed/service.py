"""Reading the event feed: which events a caller gets, from which position, and waiting for the next."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from service import events
from service.errors import Unprocessable
from service.event_feed import metrics
from service.event_feed.waiting import EventWaits, Waiter
from service.events import EVENT_TYPES, EventType, Part
from service.identity import AnyCaller
from service.platform.database import Database, Record
from service.platform.database.changes_after import NOW, START
from service.platform.database.positions import PositionUnknown

#: Of an event's data. It takes longer to shorten more of it, and others have their turn in between.
LARGE: Final = 20_000


class Client(Protocol):
    """The client of a request that may wait."""

    async def confirm(self) -> Any:
        """The caller with the rights of now. Raises when access has ended."""

    def waiting(self, left: Callable[[], None], /) -> AbstractAsyncContextManager[None]:
        """Around the wait. `left` is called when the client leaves."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for. `after` is a position, or NOW, or START for all events that are kept. Where `types`
    is None, all that the caller may read. `wait` is how many seconds to wait for the first event.
    """

    after: str
    types: str | None
    limit: int
    wait: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Events as they are sent, the position after them, and whether more may follow at once."""

    body: bytes
    position: str
    more: bool


async def follow(
    database: Database, waits: EventWaits, client: Client, caller: AnyCaller, query: Query
) -> Answer:
    """The events after the position, or where there are none and `wait` says so, those that come next.

    A wait ends early, without events, when the process stops. Raises Unauthenticated or Forbidden when the
    caller's access ends meanwhile.
    """
    types = _types(caller, query.types)
    if not query.wait:
        return await _answer(await _begin(database, query, types))
    waiter = waits.open(caller.subject)
    try:
        part = await _begin(database, query, types)
        if not part.events and not part.more:
            async with client.waiting(waiter.end):
                part = await _wait(database, waits, waiter, client=client, query=query, part=part)
    finally:
        waits.remove(waiter)
    return await _answer(part)


async def _begin(database: Database, query: Query, types: Sequence[str]) -> Part:
    """What there is at once. A position is looked for after the events have been read: until then an event
    might be deleted for its age.
    """
    named = query.after in (START, NOW)
    place = events.BEGINNING if named else events.decode_position(query.after)
    async with database.reading() as session:
        await events.sequence(session)
        if query.after == NOW:
            return Part([], await events.get_end(session), more=False)
        part = await events.read(session, place, events.END, types, limit=query.limit)
        if not named:
            try:
                await events.require_known(session, place)
            except PositionUnknown:
                metrics.position_refused()
                raise
        return part


async def _wait(
    database: Database, waits: EventWaits, waiter: Waiter, *, client: Client, query: Query, part: Part
) -> Part:
    until = asyncio.get_running_loop().time() + query.wait
    while not part.events and not part.more and await waiter.woken(until):
        types = _types(await client.confirm(), query.types)
        if waiter.take_news():
            async with waits.reads, database.reading() as session:
                part = await events.read(session, part.end, events.END, types, limit=query.limit)
    return part


async def _answer(part: Part) -> Answer:
    documents = []
    for row in part.events:
        documents.append(_document(row))
        metrics.event_fed(row.type)
        if len(row.data) > LARGE:
            await asyncio.sleep(0)
    return Answer(b"[%b]" % b",".join(documents), events.encode_position(part.end), part.more)


def _document(row: Record) -> bytes:
    """The message that a webhook gets, with two members more."""
    message = events.payload_of_json(row.type, row.occurred_at, row.data)
    position = events.encode_position(row.sequenced_at)
    return b'{"id":"evt_%d","position":"%b",%b' % (row.id, position.encode(), message[1:])


def _types(caller: AnyCaller, asked: str | None) -> list[EventType]:
    """Those asked for: names, or `order.*` for all that begin so.

    Raises Unprocessable for an unknown one, and Forbidden for one that the caller may not read.
    """
    if asked is None:
        return [each for each in EVENT_TYPES if events.may_read(caller, each)]
    found: list[EventType] = []
    for name in asked.split(","):
        named = [each for each in EVENT_TYPES if name in (each, f"{events.first_word(each)}.*")]
        if not named:
            raise Unprocessable.at(
                "?types",
                "Send types of events, or `order.*` and the like, with commas between.",
                "unknown_value",
            )
        found += named
    events.require_may_read(caller, found, "types")
    return found
