"""Responses of public reads, stored in memory until a row changes that they show.

Only what is the same for every client that may get it from here: those without credentials, and those whose
credentials this process knows and whose rights show no more. Others, and requests with `Cache-Control:
no-cache`, are answered from the database. A response is stored only if no row that it shows changed while it
was read. It is used only while the change feed is in sync, and after the feed has delivered what this service
committed on this machine; on other machines it is as old as a notification takes, and never older than the
feed's lease. docs/adr/0025 says why not less.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Final, NamedTuple, Protocol

from cachetools import LRUCache
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.platform.database.change_feed import Change, ChangeListener
from service.platform.http import metrics
from service.platform.http.etag.versions import NOT_MODIFIED_HEADERS, has_already
from service.platform.http.openapi_validation import acceptable
from service.platform.http.problems import PROBES
from service.platform.http.public_reads import PublicRead, is_shown
from service.platform.http.request_state import Caller, state_of

#: Requests with one of these bypass the cache: they have a body that must be measured.
BYPASS: Final = frozenset({b"content-length", b"transfer-encoding"})
#: The headers that decide whether a response from here will do.
READ: Final = frozenset({b"accept", b"authorization", b"cache-control", b"if-none-match"})
JSON: Final = frozenset({"application/json"})
#: Of each of them: longer ones bypass the cache.
LONGEST_HEADER: Final = 1_024
#: Bounds what no trigger notifies of, such as rows of a replica that is still being filled.
MAX_AGE_SECONDS: Final = 60.0
#: The share of the cache that one response may take: a few large ones must not evict all others.
LARGEST_SHARE: Final = 1 / 16
#: What an entry takes beside its text, about.
OVERHEAD_BYTES: Final = 1_000

#: Path and query.
Key = tuple[str, bytes]
Headers = list[tuple[bytes, bytes]]
#: A table and a row's id; None for a response that shows many rows.
Source = tuple[str, int | None]


class Feed(Protocol):
    """What is used of the change feed."""

    @property
    def in_sync(self) -> bool: ...

    async def sync(self) -> bool: ...


class Known(Protocol):
    """What is used of the authenticator."""

    def known(self, authorization: str) -> Caller | None:
        """The caller of these credentials, if this process knows without a query that their access holds."""


class PublicRoute(Protocol):
    """The route that a response is from."""

    path_format: str
    public_read: PublicRead | None


@dataclass(frozen=True, slots=True)
class CachedResponse:
    route: PublicRoute
    source: Source
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
        if not is_shown(table):
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

    def __init__(self, app: ASGIApp, *, cache: ResponseCache, feed: Feed, authenticator: Known) -> None:
        self.app, self.cache, self.feed, self.authenticator = app, cache, feed, authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        asked = _asked(scope["headers"])
        if asked is None or not (self.feed.in_sync or await self.feed.sync()):
            await self._bypass(scope, receive, send)
            return
        key = (scope["path"], scope["query_string"])
        response = self.cache.find(key)
        if response is None:
            await self._read(key, asked.if_none_match, scope=scope, receive=receive, send=send)
            return
        caller = None
        if asked.authorization is not None:
            caller = self.authenticator.known(asked.authorization)
            if caller is None or not _is_same_for(response, caller):
                await self._bypass(scope, receive, send)
                return
        scope["route"], state_of(scope).caller = response.route, caller
        metrics.CACHE_REQUESTS.inc("hit")
        await _send(response, asked.if_none_match, send)

    async def _bypass(self, scope: Scope, receive: Receive, send: Send) -> None:
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
            source = state.cache_source if state.will_be_cached else None
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
            metrics.CACHE_REQUESTS.inc("miss" if state.cache_waits else "bypass")


def _is_same_for(response: CachedResponse, caller: Caller) -> bool:
    public_read = response.route.public_read
    return public_read is not None and public_read.is_same_for(caller)


class _Asked(NamedTuple):
    """What a request says that the response cache may answer."""

    #: If-None-Match, or nothing.
    if_none_match: str
    authorization: str | None


_PLAIN: Final = _Asked("", None)


def _asked(headers: Iterable[tuple[bytes, bytes]]) -> _Asked | None:
    """None for a request that bypasses the cache."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in BYPASS:
            return None
        if name in READ:
            if len(value) > LONGEST_HEADER:
                return None
            found[name] = value.decode("latin-1")
    if not found:
        return _PLAIN
    accept, control = found.get(b"accept"), found.get(b"cache-control")
    if (accept is not None and not _accepts_json(accept)) or (control is not None and _is_refused(control)):
        return None
    return _Asked(found.get(b"if-none-match", ""), found.get(b"authorization"))


@lru_cache(maxsize=256)
def _accepts_json(accept: str) -> bool:
    return acceptable(accept, JSON)


@lru_cache(maxsize=256)
def _is_refused(cache_control: str) -> bool:
    """Whether the client wants no response from a cache (RFC 9111, sections 5.2.1.4 and 5.2.1.5)."""
    directives = {each.strip().lower() for each in cache_control.split(",")}
    return not directives.isdisjoint({"no-cache", "no-store"})


def _cached(key: Key, source: Source, scope: Scope, *, headers: Headers, body: bytes) -> CachedResponse:
    tag = next(value.decode("latin-1") for name, value in headers if name == b"etag")
    text = sum(len(name) + len(value) for name, value in headers) + len(key[0]) + len(key[1])
    return CachedResponse(
        route=scope["route"],
        source=source,
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
