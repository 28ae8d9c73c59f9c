"""Whether an API key is good, mostly without asking the database.

Each process remembers the keys that have shown to be good, by their hashes, until the change feed says
that any key has changed. While the feed's lease has lapsed, the database is asked instead.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from service.errors import InvalidToken, ServiceError
from service.identity.api_keys import repository as api_keys
from service.identity.api_keys.format import can_be_key
from service.identity.callers import KeyCaller
from service.platform.crypto import fingerprint
from service.platform.database import Database
from service.platform.database.change_feed import Change, ChangeFeed, Reader
from service.platform.http.authentication import BeforeLookup

log = structlog.get_logger(__name__)

Value = TypeVar("Value")

REMEMBERED_KEYS: Final = 1_024
NOTED_EVERY_SECONDS: Final = api_keys.USE_NOTED_EVERY.total_seconds()


@dataclass(frozen=True, slots=True)
class Known:
    caller: KeyCaller
    #: When it expires, by this process's clock.
    ends: float


class Keys:
    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        #: Whose keys were good when they were last asked for, whatever has been heard since.
        self._were_good: OrderedDict[bytes, KeyCaller] = OrderedDict()
        #: Counts what has been forgotten: an answer that was asked for before is not remembered.
        self._forgotten = 0
        self._noted: dict[int, float] = {}
        self._notes: set[asyncio.Task[None]] = set()

    @property
    def reader(self) -> Reader:
        return Reader(load=self.load, changed=self.changed)

    async def load(self) -> None:
        """What was remembered before there was a feed to correct it may be wrong."""
        self._forget()

    def changed(self, change: Change) -> None:
        if change["of"] == "api_keys":
            self._forget()

    def _forget(self) -> None:
        self._known.clear()
        self._forgotten += 1

    async def admitted(
        self, feed: ChangeFeed, key: str, before_lookup: BeforeLookup | None = None
    ) -> KeyCaller:
        """Who calls with this key. Raises InvalidToken unless it is good.

        `before_lookup` is awaited before the database is asked, with whose key it seems to be: None for one
        that was never good, for anybody can make up as many as they like.
        """
        if not can_be_key(key):
            raise _refusal()
        key_hash = fingerprint(key)
        known = self._known.get(key_hash) if feed.current else None
        if known is None:
            if before_lookup is not None:
                await before_lookup(self._were_good.get(key_hash))
            known = await self._ask(key_hash)
        if known is None or known.ends <= self._clock():
            raise _refusal()
        self._note_use(known.caller.key_id)
        return known.caller

    async def _ask(self, key_hash: bytes) -> Known | None:
        forgotten, asked = self._forgotten, self._clock()
        async with self._database.reading() as session:
            row = await api_keys.get_good(session, key_hash)
        if row is None:
            self._were_good.pop(key_hash, None)
            return None
        left = math.inf if row.seconds_left is None else float(row.seconds_left)
        known = Known(KeyCaller(row.id, frozenset(row.scopes)), asked + left)
        _remember(self._were_good, key_hash, known.caller)
        if forgotten == self._forgotten:
            _remember(self._known, key_hash, known)
        return known

    def _note_use(self, key_id: int) -> None:
        """Beside the request, which neither waits for it nor fails with it."""
        now = self._clock()
        if now - self._noted.get(key_id, -math.inf) < NOTED_EVERY_SECONDS:
            return
        self._noted[key_id] = now
        note = asyncio.create_task(self._write_use(key_id), name="use of an API key")
        self._notes.add(note)
        note.add_done_callback(self._notes.discard)

    async def _write_use(self, key_id: int) -> None:
        try:
            async with self._database.transaction() as session:
                await api_keys.note_use(session, key_id)
        except ServiceError as fault:
            log.warning("api_key.use_not_noted", key_id=key_id, fault=type(fault).__name__)

    async def settle(self) -> None:
        """Wait for what is still being noted: before the database is closed."""
        await asyncio.gather(*self._notes, return_exceptions=True)


def _remember(entries: OrderedDict[bytes, Value], key_hash: bytes, value: Value) -> None:
    entries[key_hash] = value
    if len(entries) > REMEMBERED_KEYS:
        entries.popitem(last=False)


def _refusal() -> InvalidToken:
    return InvalidToken("The API key is unknown, expired or revoked.")
