"""Weather of cities, cached for each city: one upstream request for all callers who wait, none within ten
minutes of the last, and hardly any while the upstream fails.
"""

import asyncio
import math
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from cachetools import LRUCache

from service.errors import FieldFault, NotFound, Unavailable, Unprocessable
from service.platform.http.text_validation import NOT_A_LINE, is_line
from service.weather.open_meteo import FAULTS, OpenMeteo
from service.weather.schemas import Weather

log = structlog.get_logger(__name__)

#: Seconds that a response, or that a city does not exist, is cached for.
TTL: Final = 600.0
#: Seconds after a failure in which the upstream is not asked for the same city again.
COOL_DOWN: Final = 5.0
#: Cities that are cached; the least recently used is evicted first.
CAPACITY: Final = 1024
#: Lookups at the same time: the route is public, and must not flood the upstream.
MAX_LOOKUPS: Final = 32


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known of a city, valid until `until` (seconds of the service's clock).

    Without weather the city does not exist (`unknown`), or the upstream has not answered yet.
    """

    until: float
    weather: Weather | None = None
    unknown: bool = False


class WeatherService:
    """The weather of cities, for one process. `upstream` is closed with it; `clock` is monotonic."""

    def __init__(
        self,
        upstream: OpenMeteo,
        *,
        clock: Callable[[], float] = time.monotonic,
        ttl: float = TTL,
        cool_down: float = COOL_DOWN,
        capacity: int = CAPACITY,
        max_lookups: int = MAX_LOOKUPS,
    ) -> None:
        self._upstream, self._clock = upstream, clock
        self._ttl, self._cool_down, self._max_lookups = ttl, cool_down, max_lookups
        # Not a cache with a TTL: an entry that has expired is served as stale while the upstream fails.
        self._entries: LRUCache[str, _Entry] = LRUCache(capacity)
        self._lookups: dict[str, asyncio.Task[_Entry]] = {}

    async def at(self, city: str) -> Weather:
        """The weather at a city, `stale` if the upstream fails and an earlier answer is cached.

        Raises:
            Unprocessable: the name is empty, over 100 characters, or has control characters.
            NotFound: the geocoder knows no such city.
            Unavailable: the upstream fails and nothing is cached; `Retry-After` says when it is asked again.
        """
        name = _normalized(city)
        key = name.casefold()
        entry = self._entries.get(key)
        if entry is None or entry.until <= self._clock():
            entry = await self._refreshed(key, name)
        if entry.unknown:
            raise NotFound("No city has this name. Check its spelling.")
        if entry.weather is None:
            wait = max(1, math.ceil(entry.until - self._clock()))
            raise Unavailable("The weather service does not answer. Try again later.", retry_after=wait)
        return entry.weather

    async def aclose(self) -> None:
        """Cancel the lookups in flight and close the connections. Callers who wait are answered 503."""
        lookups = tuple(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)
        await self._upstream.aclose()

    async def _refreshed(self, key: str, name: str) -> _Entry:
        """Wait for the one lookup of this city, started here unless one is in flight."""
        lookup = self._lookups.get(key)
        if lookup is None:
            if self._upstream.is_closed or len(self._lookups) >= self._max_lookups:
                return self._fallback(key)
            self._lookups[key] = lookup = asyncio.create_task(self._look_up(key, name))
            lookup.add_done_callback(lambda _: self._lookups.pop(key))
        # Unlike awaiting the task, this leaves it running for the others when a caller is cancelled.
        await asyncio.wait((lookup,))
        return self._fallback(key) if lookup.cancelled() else lookup.result()

    async def _look_up(self, key: str, name: str) -> _Entry:
        try:
            weather = await self._upstream.get(name)
        except FAULTS as error:
            # The type only: messages may contain the URL, with its key, or what the upstream sent.
            log.warning("weather.upstream_failed", fault=type(error).__name__)
            entry = self._fallback(key)
        else:
            entry = _Entry(self._clock() + self._ttl, weather, unknown=weather is None)
        self._entries[key] = entry
        return entry

    def _fallback(self, key: str) -> _Entry:
        """What is served during a cool-down: what was known, its weather marked stale."""
        until = self._clock() + self._cool_down
        known = self._entries.get(key)
        if known is None or known.weather is None:
            return _Entry(until, unknown=known is not None and known.unknown)
        return _Entry(until, known.weather.model_copy(update={"stale": True}))


def _normalized(city: str) -> str:
    """One spelling for each name (NFKC, single spaces). Raises Unprocessable for what cannot be a name."""
    name = " ".join(unicodedata.normalize("NFKC", city).split())
    if not name or max(len(city), len(name)) > 100:
        fault = FieldFault("{city}", "Send a name of 1 to 100 characters.", "too_long" if name else "blank")
    elif not is_line(city):
        fault = FieldFault("{city}", NOT_A_LINE, "forbidden_characters")
    else:
        return name
    raise Unprocessable("`city` is not a valid name: `errors` says why.", errors=(fault,))
