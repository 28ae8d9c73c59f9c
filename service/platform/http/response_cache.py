"""Answers to public reads, kept in memory and dropped when a row that they were built from changes.

Only what everybody gets alike: a request with credentials goes past it, so whoever changes something
reads it from the database. An answer is kept only if nothing it was built from changed while it was read,
and believed only while the change feed is, and once it has heard what this service committed on this
machine; elsewhere an answer is as old as a notification takes, and never older than the feed's lease.
docs/adr/0025 says why not less.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, Protocol, get_args

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.platform.database.change_feed import Change, Reader
from service.platform.http.accept import acceptable
from service.platform.http.context import route_template
from service.platform.http.problems import PROBES
from service.platform.http.request_state import state_of
from service.platform.http.versions import has_already
from service.platform.telemetry import cache_metrics

#: What a 304 repeats of the answer that it stands for (RFC 9110, section 15.4.5).
REPEATED: Final = frozenset(
    {b"cache-control", b"content-location", b"etag", b"expires", b"next-updated-since", b"vary"}
)
#: Of requests that are not answered from memory: whose, or with a body that somebody has to measure.
TELLING: Final = frozenset({b"authorization", b"content-length", b"transfer-encoding"})
#: The tables that tell the change feed of their rows, and may be declared as a source.
Table = Literal["items", "posts"]
TABLES: Final = frozenset(get_args(Table))
JSON: Final = frozenset({"application/json"})
#: Longer than any that is meant well: not looked into here, and not remembered.
LONGEST_HEADER: Final = 1_024
#: Whatever no trigger tells of, such as a copy that another database still fills, ends with this.
OLDEST_SECONDS: Final = 60.0
#: One answer may take so much of the room: a few large ones must not drive out all others.
LARGEST: Final = 1 / 16
#: What an entry takes beside its text, about.
OVERHEAD_BYTES: Final = 1_000

Key = tuple[str, bytes]
Headers = list[tuple[bytes, bytes]]
#: A table and a row's id; None for what shows many rows.
Source = tuple[Table, int | None]


class Feed(Protocol):
    """What is asked of the change feed."""

    @property
    def caught_up(self) -> bool: ...

    async def catch_up(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Route:
    """Stands for the route in the log and in metrics, where routing was not needed."""

    path_format: str


@dataclass(frozen=True, slots=True)
class Answer:
    source: Source
    route: _Route
    headers: Headers
    repeated: Headers
    tag: str
    body: bytes
    size: int
    read_at: float


class Memory:
    """Up to `room` bytes of answers; what has not been asked for the longest goes first."""

    def __init__(self, room: int) -> None:
        self._room, self.taken = room, 0
        self._answers: OrderedDict[Key, Answer] = OrderedDict()
        self._by_source: dict[Source, set[Key]] = {}
        #: Counts the changes that have been heard.
        self.heard = 0

    @property
    def reader(self) -> Reader:
        return Reader(load=self.load, changed=self.changed)

    @property
    def entries(self) -> int:
        return len(self._answers)

    async def load(self) -> None:
        """Listening has begun: what was kept before may be of any age."""
        self.clear()

    def clear(self) -> None:
        self._forget(list(self._answers), "everything")

    def changed(self, change: Change) -> None:
        """With the id of a row: what shows that row or many. Without: what shows any of the table."""
        table, row = change["of"], change.get("id")
        if table not in TABLES:
            return
        shown = (
            [(table, None), (table, row)] if row else [each for each in self._by_source if each[0] == table]
        )
        self._forget([key for source in shown for key in self._by_source.get(source, ())], table)

    def find(self, key: Key) -> Answer | None:
        answer = self._answers.get(key)
        if answer is None:
            return None
        if time.monotonic() - answer.read_at > OLDEST_SECONDS:
            self._drop(key)
            self._tell()
            return None
        self._answers.move_to_end(key)
        return answer

    def keep(self, key: Key, answer: Answer, *, heard: int) -> None:
        """`heard` is as it was before this was read: what has changed since may be in it, or not."""
        if heard != self.heard or answer.size > self._room * LARGEST:
            return
        if key in self._answers:
            self._drop(key)
        self._answers[key] = answer
        self._by_source.setdefault(answer.source, set()).add(key)
        self.taken += answer.size
        while self.taken > self._room:
            self._drop(next(iter(self._answers)))
        self._tell()

    def _forget(self, keys: list[Key], reason: str) -> None:
        self.heard += 1
        for key in keys:
            self._drop(key)
        cache_metrics.INVALIDATIONS.add(reason, times=len(keys))
        self._tell()

    def _drop(self, key: Key) -> None:
        answer = self._answers.pop(key)
        self.taken -= answer.size
        keys = self._by_source[answer.source]
        keys.remove(key)
        if not keys:
            del self._by_source[answer.source]

    def _tell(self) -> None:
        cache_metrics.ENTRIES.value, cache_metrics.BYTES.value = self.entries, self.taken


class ResponseCache:
    """Stands before what sheds load: an answer from memory costs less than a refusal is worth."""

    def __init__(self, app: ASGIApp, *, memory: Memory, feed: Feed) -> None:
        self.app, self.memory, self.feed = app, memory, feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        wanted = _wanted(scope["headers"])
        if wanted is not None and (self.feed.caught_up or await self.feed.catch_up()):
            key = (scope["path"], scope["query_string"])
            answer = self.memory.find(key)
            if answer is None:
                await self._read(key, wanted, scope=scope, receive=receive, send=send)
                return
            scope["route"] = answer.route
            cache_metrics.REQUESTS.add("hit")
            await _send(answer, wanted, send)
            return
        await self.app(scope, receive, send)
        if state_of(scope).cache_source is not None:
            cache_metrics.REQUESTS.add("bypass")

    async def _read(self, key: Key, wanted: str, *, scope: Scope, receive: Receive, send: Send) -> None:
        heard, state = self.memory.heard, state_of(scope)
        state.cache_revalidates = True
        start: Message | None = None
        parts: list[bytes] = []

        async def held_send(message: Message) -> None:
            nonlocal start
            source = state.cache_source
            if source and message["type"] == "http.response.start" and message["status"] == 200:
                start = message
            elif start is None or source is None:
                await send(message)
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body", False):
                    answer = _answer(key, source, scope, headers=start["headers"], body=b"".join(parts))
                    self.memory.keep(key, answer, heard=heard)
                    await _send(answer, wanted, send)

        await self.app(scope, receive, held_send)
        if state.cache_source is not None:
            cache_metrics.REQUESTS.add("miss")


def _wanted(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """If-None-Match, or nothing; None for a request that is not everybody's."""
    wanted = ""
    for name, value in headers:
        if name in TELLING:
            return None
        if name not in (b"accept", b"if-none-match"):
            continue
        if len(value) > LONGEST_HEADER or (name == b"accept" and not _takes_json(value)):
            return None
        if name == b"if-none-match" and not wanted:
            wanted = value.decode("latin-1")
    return wanted


@lru_cache(maxsize=256)
def _takes_json(accept: bytes) -> bool:
    return acceptable(accept.decode("latin-1"), JSON)


def _answer(key: Key, source: Source, scope: Scope, *, headers: Headers, body: bytes) -> Answer:
    tag = next(value.decode("latin-1") for name, value in headers if name == b"etag")
    text = sum(len(name) + len(value) for name, value in headers) + len(key[0]) + len(key[1])
    return Answer(
        source=source,
        route=_Route(route_template(scope)),
        headers=headers,
        repeated=[header for header in headers if header[0] in REPEATED],
        tag=tag,
        body=body,
        size=len(body) + 2 * text + OVERHEAD_BYTES,
        read_at=time.monotonic(),
    )


async def _send(answer: Answer, wanted: str, send: Send) -> None:
    unchanged = bool(wanted) and has_already(wanted, answer.tag)
    status, headers, body = (304, answer.repeated, b"") if unchanged else (200, answer.headers, answer.body)
    # Those outside add to the headers.
    await send({"type": "http.response.start", "status": status, "headers": [*headers]})
    await send({"type": "http.response.body", "body": body})
