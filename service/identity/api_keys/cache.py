"""The API keys that this process has seen to be good, and when it has seen them used."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from cachetools import FIFOCache

from service.errors import ServiceError
from service.identity.api_keys import repository as api_keys
from service.identity.callers import KeyCaller
from service.platform.database import Database
from service.platform.database.change_feed import Change, ChangeListener

log = structlog.get_logger(__name__)

MAX_KEYS: Final = 1_024
NOTED_EVERY_SECONDS: Final = api_keys.USE_NOTED_EVERY.total_seconds()


@dataclass(frozen=True, slots=True)
class CachedKey:
    caller: KeyCaller
    #: When it expires, by this process's clock.
    ends: float


class ApiKeyCache:
    """Good keys by their hashes. The change feed empties it when any key changes."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self.clock = database, clock
        self._keys: FIFOCache[bytes, CachedKey] = FIFOCache(MAX_KEYS)
        #: The callers of keys that were good when they were last looked up, whatever has changed since.
        self._last_good: FIFOCache[bytes, KeyCaller] = FIFOCache(MAX_KEYS)
        #: Counts how often the cache was emptied: what was read before is not added after.
        self.generation = 0
        self._noted: dict[int, float] = {}
        self._notes: set[asyncio.Task[None]] = set()

    @property
    def listener(self) -> ChangeListener:
        return ChangeListener(load=self.load, on_change=self.on_change)

    async def load(self) -> None:
        """What was cached before there was a feed to correct it may be wrong."""
        self._clear()

    def on_change(self, change: Change) -> None:
        if change["of"] == "api_keys":
            self._clear()

    def _clear(self) -> None:
        self._keys.clear()
        self.generation += 1

    def get(self, key_hash: bytes) -> CachedKey | None:
        return self._keys.get(key_hash)

    def last_good(self, key_hash: bytes) -> KeyCaller | None:
        return self._last_good.get(key_hash)

    def add(self, key_hash: bytes, key: CachedKey, generation: int) -> None:
        """`generation` is that of before the key was read."""
        self._last_good[key_hash] = key.caller
        if generation == self.generation:
            self._keys[key_hash] = key

    def remove(self, key_hash: bytes) -> None:
        self._last_good.pop(key_hash, None)

    def note_use(self, key_id: int) -> None:
        """Beside the request, which neither waits for it nor fails with it."""
        now = self.clock()
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
