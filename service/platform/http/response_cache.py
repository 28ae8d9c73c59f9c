"""Responses of public reads, stored in memory until a row changes that they show.

    @router.get("/{item_id}")
    @public_read("items", row="item_id")
    async def get_item(...) -> Item: ...

Only what is the same for every client: a request with credentials is not answered from here, so a client
that changes something reads it from the database. A response is stored only if no row that it shows changed
while it was read. It is used only while the change feed is in sync, and after the feed has delivered what
this service committed on this machine; on other machines it is as old as a notification takes, and never
older than the feed's lease. docs/adr/0025 says why not less.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, Protocol, TypeVar

from cachetools import LRUCache
from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.platform.database.change_feed import Change, ChangeListener
from service.platform.http import metrics
from service.platform.http.etag.versions import NOT_MODIFIED_HEADERS, has_already
from service.platform.http.openapi_validation import acceptable
from service.platform.http.problems import PROBES
from service.platform.http.request_state import route_template, state_of

#: Requests with one of these bypass the cache: they have a caller, or a body that must be measured.
BYPASS: Final = frozenset({b"authorization", b"content-length", b"transfer-encoding"})
JSON: Final = frozenset({"application/json"})
#: Of Accept and If-None-Match: longer ones bypass the cache.
LONGEST_HEADER: Final = 1_024
#: Bounds what no trigger notifies of, such as rows of a replica that is still being filled.
MAX_AGE_SECONDS: Final = 60.0
#: The share of the cache that one response may take: a few large ones must not evict all others.
LARGEST_SHARE: Final = 1 / 16
#: What an entry takes beside its text, about.
OVERHEAD_BYTES: Final = 1_000

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
#: Path and query.
Key = tuple[str, bytes]
Headers = list[tuple[bytes, bytes]]
#: A table and a row's id; None for a response that shows many rows.
Source = tuple[str, int | None]


@dataclass(frozen=True)
class PublicRead:
    """Any cache may store the responses of a handler, and must ask before it uses one.

    The response cache stores them too if they show rows of one table: the row whose id the path parameter
    `row` holds, or many.
    """

    table: str | None
    row: str | None

    @staticmethod
    def of(endpoint: Callable[..., Any]) -> "PublicRead | None":
        return _public_reads.get(endpoint)

    def declare(self, request: Request, response: Response) -> None:
        if "Cache-Control" in response.headers:
            return  # the handler knows better
        response.headers["Cache-Control"] = "no-cache"
        if self.table is not None:
            row_id = int(request.path_params[self.row]) if self.row else None
            state_of(request.scope).cache_source = (self.table, row_id)


_public_reads: Final[dict[Callable[..., Any], PublicRead]] = {}


def public_read(table: str | None = None, *, row: str | None = None) -> Callable[[Endpoint], Endpoint]:
    """Decorates the handler of a route, below the router's own decorator."""

    def declare(endpoint: Endpoint) -> Endpoint:
        _public_reads[endpoint] = PublicRead(table, row)
        return endpoint

    return declare


class Feed(Protocol):
    """What is used of the change feed."""

    @property
    def in_sync(self) -> bool: ...

    async def sync(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Route:
    """Stands for the route in the log and in metrics, where routing was not needed."""

    path_format: str


@dataclass(frozen=True, slots=True)
class CachedResponse:
    source: Source
    route: _Route
    headers: Headers
    not_modified_headers: Headers
    tag: str
    body: bytes
    size: int
    read_at: float


class ResponseCache(LRUCache[Key, CachedResponse]):
    """Responses up to a number of bytes (`currsize` of `maxsize`), and the rows that each shows."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes, getsizeof=attrgetter("size"))
        self._by_source: dict[Source, set[Key]] = {}
        #: Counts the changes that the feed has delivered.
        self.changes = 0

    @property
    def listener(self) -> ChangeListener:
        return ChangeListener(load=self.load, on_change=self.on_change)

    async def load(self) -> None:
        """Listening has begun: what was stored before may be of any age."""
        self.clear()

    def clear(self) -> None:
        self._invalidate(list(self), "everything")

    def on_change(self, change: Change) -> None:
        """With the id of a row: what shows that row or many. Without: what shows any of the table."""
        table, row = change["of"], change.get("id")
        if all(table != each.table for each in _public_reads.values()):
            return
        shown = (
            [(table, None), (table, row)] if row else [each for each in self._by_source if each[0] == table]
        )
        self._invalidate([key for source in shown for key in self._by_source.get(source, ())], table)

    def find(self, key: Key) -> CachedResponse | None:
        try:
            response = self[key]
        except KeyError:
            return None
        if time.monotonic() - response.read_at <= MAX_AGE_SECONDS:
            return response
        del self[key]
        self._measure()
        return None

    def store(self, key: Key, response: CachedResponse, *, changes: int) -> None:
        """`changes` is as it was before this was read: what has changed since may be in it, or not."""
        if changes == self.changes and response.size <= self.maxsize * LARGEST_SHARE:
            self[key] = response
            self._by_source.setdefault(response.source, set()).add(key)
            self._measure()

    def __delitem__(self, key: Key) -> None:
        """Also for what is evicted."""
        source = self[key].source
        super().__delitem__(key)
        keys = self._by_source[source]
        keys.remove(key)
        if not keys:
            del self._by_source[source]

    def _invalidate(self, keys: list[Key], reason: str) -> None:
        self.changes += 1
        for key in keys:
            del self[key]
        metrics.CACHE_INVALIDATIONS.inc(reason, amount=len(keys))
        self._measure()

    def _measure(self) -> None:
        metrics.CACHE_ENTRIES.value, metrics.CACHE_BYTES.value = len(self), int(self.currsize)


class ResponseCacheMiddleware:
    """Stands before overload protection: a hit costs less than a refusal is worth."""

    def __init__(self, app: ASGIApp, *, cache: ResponseCache, feed: Feed) -> None:
        self.app, self.cache, self.feed = app, cache, feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        wanted = _if_none_match(scope["headers"])
        if wanted is not None and (self.feed.in_sync or await self.feed.sync()):
            key = (scope["path"], scope["query_string"])
            response = self.cache.find(key)
            if response is None:
                await self._read(key, wanted, scope=scope, receive=receive, send=send)
                return
            scope["route"] = response.route
            metrics.CACHE_REQUESTS.inc("hit")
            await _send(response, wanted, send)
            return
        await self.app(scope, receive, send)
        if state_of(scope).cache_source is not None:
            metrics.CACHE_REQUESTS.inc("bypass")

    async def _read(self, key: Key, wanted: str, *, scope: Scope, receive: Receive, send: Send) -> None:
        changes, state = self.cache.changes, state_of(scope)
        state.cache_waits = True
        start: Message | None = None
        pieces: list[bytes] = []

        async def held_send(message: Message) -> None:
            nonlocal start
            source = state.cache_source
            if source and message["type"] == "http.response.start" and message["status"] == 200:
                start = message
            elif start is None or source is None:
                await send(message)
            else:
                pieces.append(message.get("body", b""))
                if not message.get("more_body", False):
                    response = _cached(key, source, scope, headers=start["headers"], body=b"".join(pieces))
                    self.cache.store(key, response, changes=changes)
                    await _send(response, wanted, send)

        await self.app(scope, receive, held_send)
        if state.cache_source is not None:
            metrics.CACHE_REQUESTS.inc("miss")


def _if_none_match(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """If-None-Match, or nothing; None for a request that bypasses the cache."""
    wanted = ""
    for name, value in headers:
        if name in BYPASS:
            return None
        if name not in (b"accept", b"if-none-match"):
            continue
        if len(value) > LONGEST_HEADER or (name == b"accept" and not _accepts_json(value)):
            return None
        if name == b"if-none-match" and not wanted:
            wanted = value.decode("latin-1")
    return wanted


@lru_cache(maxsize=256)
def _accepts_json(accept: bytes) -> bool:
    return acceptable(accept.decode("latin-1"), JSON)


def _cached(key: Key, source: Source, scope: Scope, *, headers: Headers, body: bytes) -> CachedResponse:
    tag = next(value.decode("latin-1") for name, value in headers if name == b"etag")
    text = sum(len(name) + len(value) for name, value in headers) + len(key[0]) + len(key[1])
    return CachedResponse(
        source=source,
        route=_Route(route_template(scope)),
        headers=headers,
        not_modified_headers=[header for header in headers if header[0] in NOT_MODIFIED_HEADERS],
        tag=tag,
        body=body,
        size=len(body) + 2 * text + OVERHEAD_BYTES,
        read_at=time.monotonic(),
    )


async def _send(response: CachedResponse, wanted: str, send: Send) -> None:
    unchanged = bool(wanted) and has_already(wanted, response.tag)
    status = 304 if unchanged else 200
    headers = response.not_modified_headers if unchanged else response.headers
    # The middleware outside adds to the headers.
    await send({"type": "http.response.start", "status": status, "headers": [*headers]})
    await send({"type": "http.response.body", "body": b"" if unchanged else response.body})
