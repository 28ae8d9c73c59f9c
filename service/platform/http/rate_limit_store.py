"""Where requests are counted: in Redis or Valkey for every process, or in this process alone."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar, cast

import structlog
from cachetools import LRUCache
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge

from service.platform.telemetry import upstream

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: What a request waits for the store at most. The grace begins when the event loop has noticed that the
#: patience is over: a loop that was held up must not take its own delay for the store's.
PATIENCE_SECONDS: Final = 0.15
GRACE_SECONDS: Final = 0.05
#: How long no request asks again after one has waited in vain.
PAUSE_SECONDS: Final = 1.0
#: What a process remembers by itself: some 15 MB. The least recently used is forgotten first.
MOST_KEYS: Final = 50_000

#: The window before, what is left of its weight in seconds, the running one, and its seconds left plus
#: one whole window; the form is that of `limits`.
Windows = tuple[int, float, int, float]


class StoreFailed(Exception):
    """The shared store does not answer, or has not a moment ago."""


class Counts(Protocol):
    """The part of a `limits` storage that is used here."""

    async def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool: ...

    async def get_sliding_window(self, key: str, expiry: int) -> Windows: ...

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int: ...

    async def clear(self, key: str) -> None: ...


class LocalCounts:
    """In memory. The one that `limits` has walks through all its keys at every hit: 3 ms for 20,000."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, max_keys: int = MOST_KEYS) -> None:
        self._clock = clock
        #: When the running window began, the count of the one before, and its own.
        self._windows: LRUCache[str, tuple[float, int, int]] = LRUCache(max_keys)
        #: When it ends, and the count.
        self._counts: LRUCache[str, tuple[float, int]] = LRUCache(max_keys)

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        began, before, running = self._current(key, expiry)
        weighted = int(before * (began + expiry - self._clock()) / expiry) + running
        if weighted + amount > limit:
            return False
        self._windows[key] = (began, before, running + amount)
        return True

    async def get_sliding_window(self, key: str, expiry: int) -> Windows:
        began, before, running = self._current(key, expiry)
        left = began + expiry - self._clock()
        return before, left if before else 0.0, running, left + expiry

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = self._clock()
        ends, count = self._counts.get(key, (0.0, 0))
        if ends <= now:
            ends, count = now + expiry, 0
        self._counts[key] = (ends, count + amount)
        return count + amount

    async def clear(self, key: str) -> None:
        self._counts.pop(key, None)

    def _current(self, key: str, expiry: int) -> tuple[float, int, int]:
        now = self._clock()
        try:
            began, before, running = self._windows[key]
        except KeyError:
            return now, 0, 0
        if now < began + expiry:
            return began, before, running
        return (began + expiry, running, 0) if now < began + 2 * expiry else (now, 0, 0)


class Store:
    """The shared counts where there are any, behind a time-out and a circuit breaker; and the local ones."""

    def __init__(self, redis_url: str | None) -> None:
        self.local = LocalCounts()
        self._redis = (
            RedisStorage(redis_url, implementation="redispy", key_prefix="tradepost") if redis_url else None
        )
        self._faults: tuple[type[Exception], ...] = (TimeoutError, OSError)
        if self._redis is not None:
            kinds = self._redis.base_exceptions
            self._faults += kinds if isinstance(kinds, tuple) else (kinds,)
        self._failing, self._asks_again = False, 0.0

    async def shared(self, question: Callable[[Counts], Awaitable[T]]) -> T:
        """Raises StoreFailed, soon."""
        if self._redis is None:
            return await question(self.local)
        now = time.monotonic()
        if self._failing:
            if now < self._asks_again:
                raise StoreFailed
            # This request tries. The others go on without an answer meanwhile.
            self._asks_again = now + PAUSE_SECONDS
        try:
            with upstream.call("redis"):
                answer = await _patiently(question(self._redis))
        except self._faults as fault:
            self._failed(fault)
            raise StoreFailed from None
        if self._failing:
            self._failing = False
            log.info("limits.store_recovered")
        return answer

    async def either(self, question: Callable[[Counts], Awaitable[T]]) -> T:
        """From the shared counts, or from this process's own while those do not answer."""
        try:
            return await self.shared(question)
        except StoreFailed:
            return await question(self.local)

    async def aclose(self) -> None:
        if self._redis is not None:
            await cast("RedispyBridge", self._redis.bridge).storage.aclose()

    def _failed(self, fault: Exception) -> None:
        if not self._failing:
            log.warning("limits.store_failed", fault=type(fault).__name__)
        self._failing, self._asks_again = True, time.monotonic() + PAUSE_SECONDS


async def _patiently(answer: Awaitable[T]) -> T:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        timer = loop.call_later(PATIENCE_SECONDS, lambda: limit.reschedule(loop.time() + GRACE_SECONDS))
        try:
            return await answer
        finally:
            timer.cancel()
