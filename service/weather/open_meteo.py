"""Client of an Open-Meteo compatible geocoder and forecast, which may be slow, down or wrong."""

import asyncio
import ssl
from collections.abc import Mapping
from datetime import UTC
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Annotated, Final, Literal, TypeVar

import httpx2
import stamina
from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime, ValidationError

from service.platform.telemetry import tracing, upstream
from service.weather.schemas import Weather

#: Seconds for geocoding and forecast together, retries and waiting for a connection included.
DEADLINE: Final = 2.0
#: Bytes of a response body; a real one has about 600.
MAX_BODY: Final = 256 * 1024

_CONNECTION_FAULTS: Final = (httpx2.NetworkError, httpx2.RemoteProtocolError)
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "tradepost"}
_CURRENT: Final = "temperature_2m,precipitation,weather_code,wind_speed_10m"

#: WMO code table 4677, as far as forecasts use it.
_CONDITIONS: Final = {
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
    """Responses are not trusted: exact types, finite numbers, plausible ranges."""

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
    """A response that is not worth parsing: its status or its size."""


#: What `OpenMeteo.get` raises when the upstream fails.
FAULTS: Final = (TimeoutError, httpx2.HTTPError, ValidationError, _RefusedError)


class OpenMeteo:
    """`geocoding_url` and `forecast_url` may have a query, such as an API key. Closes `client`."""

    def __init__(
        self,
        geocoding_url: str,
        forecast_url: str,
        *,
        client: httpx2.AsyncClient | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self._geocoding_url = httpx2.URL(geocoding_url)
        self._forecast_url = httpx2.URL(forecast_url)
        self._client = client or _default_client(deadline)
        self._deadline = deadline

    @property
    def is_closed(self) -> bool:
        return self._client.is_closed

    async def aclose(self) -> None:
        await self._client.aclose()

    async def get(self, city: str) -> Weather | None:
        """The weather at a city, None where the geocoder knows no such city. Raises FAULTS."""
        async with asyncio.timeout(self._deadline):
            query = {"name": city, "count": "1", "language": "en", "format": "json"}
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
            tracing.set_status(response.status_code)
            if response.status_code != 200:
                raise _RefusedError("status")
            # Raw: a few received bytes may inflate to gigabytes before they can be counted.
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BODY:
                    raise _RefusedError("size")
        return bytes(body)


@cache
def trust() -> ssl.SSLContext:
    """The authorities that certificates are checked with. Reading them takes 11 MB, which processes that are
    forked later share.
    """
    return httpx2.create_ssl_context()


def _default_client(deadline: float) -> httpx2.AsyncClient:
    """A client that stores no cookies: they would accumulate, and identify who asks."""
    none = DefaultCookiePolicy(allowed_domains=())
    return httpx2.AsyncClient(verify=trust(), timeout=deadline, cookies=CookieJar(policy=none))


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
