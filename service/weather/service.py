"""Delivery weather from an Open-Meteo compatible geocoder and forecast, which may be slow, down or wrong.

Answers are kept per city, so that the upstream is asked once for all who wait, never again within
ten minutes, and hardly ever while it fails.
"""

import asyncio
import math
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Annotated, Literal, TypeVar

import httpx2
import stamina
import structlog
from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime, ValidationError

from service.errors import FieldFault, NotFound, Unavailable, Unprocessable
from service.platform.http.characters import NOT_A_LINE, is_line
from service.platform.telemetry import tracing, upstream
from service.weather.schemas import Weather

log = structlog.get_logger(__name__)

#: Seconds for geocoding and forecast together, retries and waiting for a connection included.
DEADLINE = 2.0
#: Seconds that an answer, or the knowledge that a city does not exist, is good for.
TTL = 600.0
#: Seconds after a failure in which the upstream is not asked for the same city again.
COOL_DOWN = 5.0
#: Cities that are remembered; the least recently used is forgotten first.
CAPACITY = 1024
#: Lookups at the same time: the route is public, and must not become a flood on somebody else.
MAX_LOOKUPS = 32
#: Bytes of an upstream body; a real one has about 600.
MAX_BODY = 256 * 1024

_CONNECTION_FAULTS = (httpx2.NetworkError, httpx2.RemoteProtocolError)
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "tradepost"}
_CURRENT = "temperature_2m,precipitation,weather_code,wind_speed_10m"

#: WMO code table 4677, as far as forecasts use it.
_CONDITIONS = {
    0: "Clear sky",
    1: "Mainly clear",
    2: "Partly cloudy",
    3: "Overcast",
    45: "Fog",
    48: "Depositing rime fog",
    51: "Light drizzle",
    53: "Moderate drizzle",
    55: "Dense drizzle",
    56: "Light freezing drizzle",
    57: "Dense freezing drizzle",
    61: "Slight rain",
    63: "Moderate rain",
    65: "Heavy rain",
    66: "Light freezing rain",
    67: "Heavy freezing rain",
    71: "Slight snowfall",
    73: "Moderate snowfall",
    75: "Heavy snowfall",
    77: "Snow grains",
    80: "Slight rain showers",
    81: "Moderate rain showers",
    82: "Violent rain showers",
    85: "Slight snow showers",
    86: "Heavy snow showers",
    95: "Thunderstorm",
    96: "Thunderstorm with slight hail",
    99: "Thunderstorm with heavy hail",
}


class _Upstream(BaseModel):
    """What the upstream says is not trusted: exact types, finite numbers, plausible ranges."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    # Some compatible servers report an error under status 200, which is not "no such city".
    error: Literal[False] = False


class _Place(_Upstream):
    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\P{Cc}+$")]
    country_code: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]


class _Places(_Upstream):
    results: tuple[_Place, ...] = ()


class _Current(_Upstream):
    time: NaiveDatetime
    temperature_2m: Annotated[float, Field(ge=-100, le=70)]
    precipitation: Annotated[float, Field(ge=0, le=1000)]
    weather_code: Annotated[int, Field(ge=0, le=99)]
    wind_speed_10m: Annotated[float, Field(ge=0, le=600)]


class _Forecast(_Upstream):
    # The times are read as UTC, which was asked for: another zone would shift them unnoticed.
    utc_offset_seconds: Literal[0] = 0
    current: _Current


Payload = TypeVar("Payload", bound=_Upstream)


class _RefusedError(Exception):
    """An upstream answer that is not worth parsing: its status or its size."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known of a city, served as it is until `until` (seconds of the service's clock).

    Without weather the city does not exist (`unknown`), or the upstream has not answered yet.
    """

    until: float
    weather: Weather | None = None
    unknown: bool = False


class WeatherService:
    """The weather of cities, for one process. Made at application start, closed at shutdown.

    `geocoding_url` and `forecast_url` may carry a query of their own, such as an API key. The
    client becomes the service's, and is closed with it. Times are in seconds; `clock` is monotonic.
    """

    def __init__(
        self,
        geocoding_url: str,
        forecast_url: str,
        *,
        client: httpx2.AsyncClient | None = None,
        clock: Callable[[], float] = time.monotonic,
        deadline: float = DEADLINE,
        ttl: float = TTL,
        cool_down: float = COOL_DOWN,
        capacity: int = CAPACITY,
        max_lookups: int = MAX_LOOKUPS,
    ) -> None:
        self._geocoding_url = httpx2.URL(geocoding_url)
        self._forecast_url = httpx2.URL(forecast_url)
        self._client = client or _default_client(deadline)
        self._clock = clock
        self._deadline = deadline
        self._ttl = ttl
        self._cool_down = cool_down
        self._capacity = capacity
        self._max_lookups = max_lookups
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[_Entry]] = {}

    async def at(self, city: str) -> Weather:
        """Return the weather at a city, `stale` if the upstream fails and has answered before.

        Raises:
            Unprocessable: the name is empty, over 100 characters, or has control characters.
            NotFound: the geocoder knows no such city.
            Unavailable: the upstream fails and nothing is remembered; `Retry-After` says when it
                is asked again.
        """
        name = _tidy(city)
        key = name.casefold()
        entry = self._entries.get(key)
        if entry is None or entry.until <= self._clock():
            entry = await self._refreshed(key, name)
        else:
            self._entries.move_to_end(key)
        if entry.unknown:
            raise NotFound("No city of this name is known.")
        if entry.weather is None:
            wait = max(1, math.ceil(entry.until - self._clock()))
            raise Unavailable("The weather service does not answer.", retry_after=wait)
        return entry.weather

    async def aclose(self) -> None:
        """End the lookups in flight and close the connections. Who still waits is answered 503."""
        lookups = tuple(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)
        await self._client.aclose()

    async def _refreshed(self, key: str, name: str) -> _Entry:
        """Wait for the one lookup of this city, started here unless one is in flight."""
        lookup = self._lookups.get(key)
        if lookup is None:
            if self._client.is_closed or len(self._lookups) >= self._max_lookups:
                return self._fallback(key)
            self._lookups[key] = lookup = asyncio.create_task(self._look_up(key, name))
            lookup.add_done_callback(lambda _: self._lookups.pop(key))
        # Unlike awaiting the task, this leaves it running for the others when a caller is cancelled.
        await asyncio.wait((lookup,))
        return self._fallback(key) if lookup.cancelled() else lookup.result()

    async def _look_up(self, key: str, name: str) -> _Entry:
        try:
            async with asyncio.timeout(self._deadline):
                weather = await self._fetch(name)
        except (TimeoutError, httpx2.HTTPError, ValidationError, _RefusedError) as error:
            # The kind only: messages may hold the URL, with its key, or what the upstream sent.
            log.warning("weather.upstream_failed", fault=type(error).__name__)
            entry = self._fallback(key)
        else:
            entry = _Entry(self._clock() + self._ttl, weather, unknown=weather is None)
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
        return entry

    def _fallback(self, key: str) -> _Entry:
        """Make what is served during a cool-down: what was known, its weather marked stale."""
        until = self._clock() + self._cool_down
        known = self._entries.get(key)
        if known is None or known.weather is None:
            return _Entry(until, unknown=known is not None and known.unknown)
        return _Entry(until, known.weather.model_copy(update={"stale": True}))

    async def _fetch(self, name: str) -> Weather | None:
        query = {"name": name, "count": "1", "language": "en", "format": "json"}
        with upstream.call("geocoding"):
            places = await self._ask(self._geocoding_url, query, _Places)
        if not places.results:
            return None
        place = places.results[0]
        where = {"latitude": f"{place.latitude:.5f}", "longitude": f"{place.longitude:.5f}"}
        query = {**where, "current": _CURRENT, "timezone": "UTC"}
        with upstream.call("forecast"):
            forecast = await self._ask(self._forecast_url, query, _Forecast)
        return _weather(place, forecast.current)

    async def _ask(self, url: httpx2.URL, query: Mapping[str, str], payload: type[Payload]) -> Payload:
        """GET and validate, with a second attempt if the connection fails: a GET may be repeated."""
        # A context rather than the decorator, which would log the arguments.
        async for attempt in stamina.retry_context(
            on=_CONNECTION_FAULTS, attempts=2, timeout=None, wait_initial=0.02, wait_jitter=0.05
        ):
            with attempt:
                body = await self._read(url.copy_merge_params(query))
        return payload.model_validate_json(body)

    async def _read(self, url: httpx2.URL) -> bytes:
        body = bytearray()
        async with self._client.stream("GET", url, headers=_HEADERS, follow_redirects=False) as response:
            tracing.answered(response.status_code)
            if response.status_code != 200:
                raise _RefusedError("status")
            # Raw: a few received bytes may inflate to gigabytes before they can be counted.
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BODY:
                    raise _RefusedError("size")
        return bytes(body)


def _default_client(deadline: float) -> httpx2.AsyncClient:
    """Make a client that accepts no cookies: they would pile up, and tell the upstream who asks."""
    none = DefaultCookiePolicy(allowed_domains=())
    return httpx2.AsyncClient(timeout=deadline, cookies=CookieJar(policy=none))


def _tidy(city: str) -> str:
    """Spell a name in one way (NFKC, single spaces), and refuse what can be none."""
    name = " ".join(unicodedata.normalize("NFKC", city).split())
    if not name or max(len(city), len(name)) > 100:
        fault = FieldFault("{city}", "Send a name of 1 to 100 characters.", "too_long" if name else "blank")
    elif not is_line(city):
        fault = FieldFault("{city}", NOT_A_LINE, "forbidden_characters")
    else:
        return name
    raise Unprocessable("This cannot be the name of a city.", errors=(fault,))


def _weather(place: _Place, current: _Current) -> Weather:
    return Weather(
        city=place.name,
        country=place.country_code,
        latitude=place.latitude,
        longitude=place.longitude,
        temperature_c=current.temperature_2m,
        wind_speed_kmh=current.wind_speed_10m,
        precipitation_mm=current.precipitation,
        condition=_CONDITIONS.get(current.weather_code, "Unknown"),
        observed_at=current.time.replace(tzinfo=UTC),
    )
