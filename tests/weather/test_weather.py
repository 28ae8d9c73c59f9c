"""The weather service against a real server on 127.0.0.1 that misbehaves on request."""

import asyncio
import gzip
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest
import structlog

from service.errors import FieldFault, NotFound, Unavailable, Unprocessable
from service.platform.http.text_validation import NOT_A_LINE
from service.weather.open_meteo import MAX_BODY, OpenMeteo
from service.weather.schemas import Weather
from service.weather.service import WeatherService

BERLIN = json.loads('{"name": "Berlin", "country_code": "DE", "latitude": 52.52437, "longitude": 13.41053}')
CURRENT = json.loads(
    """{"time": "2026-11-22T10:00", "interval": 900, "temperature_2m": 4, "precipitation": 0.2,
    "weather_code": 61, "wind_speed_10m": 11.5}"""
)
EXPECTED = json.loads(
    """{"city": "Berlin", "country": "DE", "latitude": 52.52437, "longitude": 13.41053, "temperature_c": 4.0,
    "wind_speed_kmh": 11.5, "precipitation_mm": 0.2, "condition": "Slight rain",
    "observed_at": "2026-11-22T10:00:00Z", "stale": false}"""
)
ONE_LOOKUP = ["/search", "/forecast"]
TLS = ssl.create_default_context()  # loading the certificates takes longer than a test

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(body: object, *, status: str = "200 OK", headers: tuple[str, ...] = ()) -> Behaviour:
    """Answer properly; bytes go out as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Connection: close", *headers, "", "")

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(lines).encode() + content)
        await writer.drain()

    return behave


def geocoded(*places: dict[str, Any]) -> Behaviour:
    return answer({"generationtime_ms": 0.4} | ({"results": places} if places else {}))


def forecast(**changes: object) -> Behaviour:
    return answer({"latitude": 52.52, "utc_offset_seconds": 0, "current": CURRENT | changes})


DOWN = answer(b"", status="503 Service Unavailable")


async def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection with RST, before anything is answered."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hang(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drip(writer: asyncio.StreamWriter) -> None:
    """Send one byte of a valid beginning after the other, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def cut_short(writer: asyncio.StreamWriter) -> None:
    """Promise more than is sent, then close."""
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"results": [')
    await writer.drain()


def after(wait: Callable[[], Awaitable[object]], behaviour: Behaviour) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> None:
        await wait()
        await behaviour(writer)

    return behave


later = partial(after, partial(asyncio.sleep, 0.3))


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Behave differently on each request; the last one stays."""
    remaining = list(behaviours)

    async def behave(writer: asyncio.StreamWriter) -> None:
        await (remaining.pop(0) if len(remaining) > 1 else remaining[0])(writer)

    return behave


def each(**values: list[object]) -> list[dict[str, object]]:
    return [{name: value} for name, choices in values.items() for value in choices]


@dataclass
class Upstream:
    """A geocoder and a forecast that record what they are asked, and services that ask them."""

    geocode: Behaviour = field(default_factory=lambda: geocoded(BERLIN))
    forecast: Behaviour = field(default_factory=lambda: answer({"current": CURRENT}))
    requests: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    now: float = 1000.0
    services: list[WeatherService] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def paths(self) -> list[str]:
        return [request.partition("?")[0] for request in self.requests]

    @property
    def names(self) -> list[str]:
        queries = [parse_qs(request.partition("?")[2]) for request in self.requests]
        return [query["name"][0] for query in queries if "name" in query]

    def service(self, *urls: str, deadline: float = 30.0, **options: Any) -> WeatherService:
        """Make a service; its deadline is long unless a test is about deadlines."""
        urls = urls or (f"{self.url}/search", f"{self.url}/forecast")
        upstream = OpenMeteo(*urls, client=options.pop("client", client()), deadline=deadline)
        self.services.append(WeatherService(upstream, **{"clock": lambda: self.now} | options))
        return self.services[-1]

    async def wait(self, service: WeatherService, *cities: str) -> list[asyncio.Task[Weather]]:
        """Start callers, and return them when the upstream has been asked."""
        callers = [asyncio.create_task(service.at(city)) for city in cities]
        await self.asked.wait()
        return callers

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The server's own task would report that it was cancelled while hanging.
        task = asyncio.create_task(self.respond(reader, writer))
        # Also where the client left before it asked, or before the task began.
        task.add_done_callback(lambda _: writer.close())
        self.tasks.add(task)

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(head.split(" ", 2)[1])
        self.headers.append(head.lower())
        self.asked.set()
        await {"/search": self.geocode, "/forecast": self.forecast}[self.paths[-1]](writer)


@pytest.fixture
async def upstream(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Upstream]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield upstream
    await asyncio.gather(*(service.aclose() for service in upstream.services))
    server.close()
    for task in upstream.tasks:
        task.cancel()
    await asyncio.gather(*upstream.tasks, return_exceptions=True)
    await server.wait_closed()


def client(**options: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(verify=TLS, **options)


def wire(weather: Weather) -> object:
    return weather.model_dump(mode="json")


async def refused(service: WeatherService, city: str = "Berlin") -> str:
    """Ask in vain and return the Retry-After."""
    with pytest.raises(Unavailable) as caught:
        await service.at(city)
    return caught.value.headers["Retry-After"]


class TestAnswer:
    async def test_a_city_is_geocoded_and_its_weather_returned(self, upstream: Upstream) -> None:
        assert wire(await upstream.service().at("Berlin")) == EXPECTED
        values = "temperature_2m%2Cprecipitation%2Cweather_code%2Cwind_speed_10m"
        assert upstream.requests == [
            "/search?name=Berlin&count=1&language=en&format=json",
            f"/forecast?latitude=52.52437&longitude=13.41053&current={values}&timezone=UTC",
        ]

    async def test_a_query_in_the_base_url_is_kept(self, upstream: Upstream) -> None:
        urls = (f"{upstream.url}/search?apikey=k1", f"{upstream.url}/forecast?apikey=k2")
        await upstream.service(*urls).at("Berlin")
        assert upstream.requests[0] == "/search?apikey=k1&name=Berlin&count=1&language=en&format=json"
        assert upstream.requests[1].startswith("/forecast?apikey=k2&latitude=")

    async def test_a_place_may_have_no_country_and_a_code_no_meaning(self, upstream: Upstream) -> None:
        upstream.geocode = geocoded({"name": "North Pole", "latitude": 90, "longitude": 0})
        upstream.forecast = forecast(weather_code=42)
        weather = await upstream.service().at("North Pole")
        assert (weather.city, weather.country, weather.condition) == ("North Pole", None, "Unknown")

    async def test_cookies_of_the_upstream_are_not_kept(self, upstream: Upstream) -> None:
        upstream.geocode = answer({"results": [BERLIN]}, headers=("Set-Cookie: id=1; Path=/",))
        await upstream.service(client=None).at("Berlin")
        assert ["cookie:" in head for head in upstream.headers] == [False, False]

    async def test_an_injected_client_is_used_and_closed(self, upstream: Upstream) -> None:
        injected = client(headers={"X-From": "injected"})
        service = upstream.service(client=injected)
        await service.at("Berlin")
        assert ["x-from: injected" in head for head in upstream.headers] == [True, True]
        await service.aclose()
        assert injected.is_closed


class TestName:
    @pytest.mark.parametrize("spelling", ["BERLIN", " berlin\u3000", "\uff22\uff25\uff32\uff2c\uff29\uff2e"])
    async def test_spellings_of_one_name_share_an_answer(self, upstream: Upstream, spelling: str) -> None:
        service = upstream.service()
        await service.at("Berlin")
        assert wire(await service.at(spelling)) == EXPECTED
        assert upstream.paths == ONE_LOOKUP

    @pytest.mark.parametrize(
        ("city", "sent"),
        [("New \u00a0 York", "New+York"), ("a&count=9#/../ü%00", "a%26count%3D9%23%2F..%2F%C3%BC%2500")],
    )
    async def test_it_is_sent_tidied_and_escaped(self, upstream: Upstream, city: str, sent: str) -> None:
        await upstream.service().at(city)
        assert upstream.requests[0] == f"/search?name={sent}&count=1&language=en&format=json"

    @pytest.mark.parametrize("city", ["x", "x" * 100])
    async def test_1_to_100_characters_are_accepted(self, upstream: Upstream, city: str) -> None:
        assert (await upstream.service().at(city)).city == "Berlin"

    @pytest.mark.parametrize("city", ["", "   ", "x" * 101, " " * 100 + "x", "\ufdfa" * 6])
    async def test_other_lengths_are_refused(self, upstream: Upstream, city: str) -> None:
        with pytest.raises(Unprocessable) as caught:
            await upstream.service().at(city)
        advice, code = "Send a name of 1 to 100 characters.", "too_long" if city.strip() else "blank"
        assert (caught.value.errors, upstream.requests) == ((FieldFault("{city}", advice, code),), [])

    @pytest.mark.parametrize("city", ["a\0b", "Ber\nlin", "B\t", "a\x7f", "a\x85b", "a\ud800", "nil\u202erB"])
    async def test_control_characters_and_surrogates_are_refused(self, upstream: Upstream, city: str) -> None:
        with pytest.raises(Unprocessable) as caught:
            await upstream.service().at(city)
        assert caught.value.errors == (FieldFault("{city}", NOT_A_LINE, "forbidden_characters"),)
        assert upstream.requests == []


class TestCache:
    async def test_an_answer_is_good_for_ten_minutes(self, upstream: Upstream) -> None:
        service = upstream.service()
        await service.at("Berlin")
        upstream.now += 599.9
        await service.at("Berlin")
        assert len(upstream.requests) == 2
        upstream.now += 0.1
        upstream.forecast = forecast(temperature_2m=-7.5)
        assert (await service.at("Berlin")).temperature_c == -7.5

    @pytest.mark.parametrize("unknown", [{"generationtime_ms": 0.4}, {"results": []}])
    async def test_an_unknown_city_is_remembered(self, upstream: Upstream, unknown: object) -> None:
        upstream.geocode = answer(unknown)
        service = upstream.service()
        for city in ("Nowhere", "nowhere"):
            with pytest.raises(NotFound, match=r"^No city has this name\. Check its spelling\.$"):
                await service.at(city)
        assert upstream.paths == ["/search"]
        upstream.now += 600
        upstream.geocode = DOWN
        with pytest.raises(NotFound):
            await service.at("Nowhere")
        assert upstream.paths == ["/search", "/search"]
        upstream.now += 5
        upstream.geocode = geocoded(BERLIN)
        assert wire(await service.at("Nowhere")) == EXPECTED

    async def test_the_least_recently_used_city_is_forgotten(self, upstream: Upstream) -> None:
        service = upstream.service(capacity=2)
        for city in ("A", "B", "A", "C", "A", "C", "B"):
            await service.at(city)
        upstream.now += 600
        for city in ("C", "A", "C"):
            await service.at(city)
        assert upstream.names == ["A", "B", "C", "B", "C", "A"]

    async def test_failures_and_unknown_cities_are_bounded_too(self, upstream: Upstream) -> None:
        service = upstream.service(capacity=2)
        upstream.geocode = in_turn(geocoded(), DOWN, geocoded())
        with pytest.raises(NotFound):
            await service.at("A")
        await refused(service, "B")
        for city in ("C", "A"):
            with pytest.raises(NotFound):
                await service.at(city)
        assert upstream.names == ["A", "B", "C", "A"]


class TestSingleFlight:
    @pytest.mark.parametrize("leaving", [(), (0,), (1,), (0, 1, 2)])
    async def test_callers_share_a_lookup_when_one_leaves(
        self, upstream: Upstream, leaving: tuple[int, ...]
    ) -> None:
        service, gate = upstream.service(), asyncio.Event()
        upstream.geocode = after(gate.wait, geocoded(BERLIN))
        callers = await upstream.wait(service, "Berlin", "berlin ", "BERLIN")
        for index in leaving:
            callers[index].cancel()
        await asyncio.gather(*(callers[index] for index in leaving), return_exceptions=True)
        assert [caller.cancelled() for caller in callers] == [index in leaving for index in range(3)]
        gate.set()
        staying = [caller for caller in callers if not caller.cancelled()]
        answers = [*await asyncio.gather(*staying), await service.at("Berlin")]
        assert [wire(weather) for weather in answers] == [EXPECTED] * (4 - len(leaving))
        assert upstream.paths == ONE_LOOKUP

    async def test_a_failure_is_shared(self, upstream: Upstream) -> None:
        upstream.geocode = DOWN
        service = upstream.service()
        outcomes = await asyncio.gather(*(service.at("Berlin") for _ in range(10)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Unavailable] * 10
        assert upstream.paths == ["/search"]

    async def test_too_many_lookups_at_once_are_refused_at_once(self, upstream: Upstream) -> None:
        upstream.geocode = hang
        service = upstream.service(max_lookups=1)
        [caller] = await upstream.wait(service, "Berlin")
        assert await refused(service, "Paris") == "5"
        assert upstream.names == ["Berlin"]
        caller.cancel()

    async def test_closing_ends_what_is_in_flight(self, upstream: Upstream) -> None:
        upstream.geocode = hang
        service = upstream.service()
        [caller] = await upstream.wait(service, "Berlin")
        await service.aclose()
        with pytest.raises(Unavailable):
            await caller
        assert await refused(service, "Berlin") == "5"


class TestFailure:
    async def test_the_last_answer_is_served_stale(self, upstream: Upstream) -> None:
        service = upstream.service()
        await service.at("Berlin")
        upstream.now += 600
        upstream.forecast = DOWN
        for _ in range(2):
            assert wire(await service.at("Berlin")) == EXPECTED | {"stale": True}
        upstream.now += 5
        assert wire(await service.at("Berlin")) == EXPECTED | {"stale": True}
        upstream.now += 5
        upstream.forecast = forecast()
        assert wire(await service.at("Berlin")) == EXPECTED
        assert upstream.paths == ONE_LOOKUP * 4

    async def test_a_city_that_fails_is_left_alone_for_a_while(self, upstream: Upstream) -> None:
        service = upstream.service()
        upstream.geocode = DOWN
        assert await refused(service) == "5"
        upstream.geocode = geocoded(BERLIN)
        upstream.now += 2.5
        assert await refused(service) == "3"
        assert wire(await service.at("Paris")) == EXPECTED
        upstream.now += 2.4
        assert await refused(service) == "1"
        assert upstream.names == ["Berlin", "Paris"]
        upstream.now += 0.1
        assert wire(await service.at("Berlin")) == EXPECTED

    async def test_no_content_is_logged(self, upstream: Upstream) -> None:
        upstream.geocode = answer({"results": "secret"})
        with structlog.testing.capture_logs() as told:
            await refused(upstream.service(f"{upstream.url}/search?apikey=secret", upstream.url))
        assert [[*line.items()][:-2] for line in told] == [[("fault", "ValidationError")]]


class TestConnectionFault:
    @pytest.mark.parametrize("fault", [reset, cut_short])
    async def test_a_broken_connection_is_tried_once_more(self, upstream: Upstream, fault: Behaviour) -> None:
        upstream.geocode = in_turn(fault, geocoded(BERLIN))
        upstream.forecast = in_turn(fault, forecast())
        assert wire(await upstream.service().at("Berlin")) == EXPECTED
        assert upstream.paths == ["/search", "/search", "/forecast", "/forecast"]

    async def test_twice_broken_is_a_failure(self, upstream: Upstream) -> None:
        upstream.geocode = in_turn(reset, reset, geocoded(BERLIN))
        assert await refused(upstream.service()) == "5"
        assert upstream.paths == ["/search", "/search"]

    async def test_a_refused_connection_is_a_failure(self, upstream: Upstream) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert await refused(upstream.service(url, url)) == "5"


class TestDeadline:
    """Each of these would take 30 s, or for ever, without the deadline."""

    @pytest.mark.parametrize("slow", [hang, drip])
    @pytest.mark.parametrize("part", ["geocode", "forecast"])
    async def test_slow_answers_are_given_up(self, upstream: Upstream, part: str, slow: Behaviour) -> None:
        setattr(upstream, part, slow)
        assert await refused(upstream.service(deadline=0.2, client=client(timeout=None))) == "5"

    async def test_a_time_out_is_not_tried_again(self, upstream: Upstream) -> None:
        upstream.geocode = in_turn(hang, geocoded(BERLIN))
        assert await refused(upstream.service(client=client(timeout=httpx2.Timeout(60, read=0.1)))) == "5"
        assert upstream.paths == ["/search"]

    async def test_it_covers_both_requests_together(self, upstream: Upstream) -> None:
        upstream.geocode, upstream.forecast = later(geocoded(BERLIN)), later(forecast())
        assert await refused(upstream.service(deadline=0.5)) == "5"

    async def test_it_covers_the_second_attempt_too(self, upstream: Upstream) -> None:
        upstream.geocode = in_turn(later(reset), later(geocoded(BERLIN)))
        assert await refused(upstream.service(deadline=0.5)) == "5"

    async def test_afterwards_the_service_still_works(self, upstream: Upstream) -> None:
        # With a single connection, one that was not given back would block the next request.
        injected = client(limits=httpx2.Limits(max_connections=1))
        upstream.geocode = in_turn(drip, geocoded(BERLIN))
        assert await refused(upstream.service(deadline=1.0, client=injected)) == "5"  # time to arrive
        assert wire(await upstream.service(client=injected).at("Berlin")) == EXPECTED


BAD_PLACES = each(
    name=["", "x" * 201, "Ber\0lin", 7],
    latitude=["52.5", 90.1, None],
    longitude=[-180.1, float("nan")],
    country_code=["DEU", "de", 49],
)
BAD_VALUES = each(
    time=["yesterday", 1795341600, "2026-11-22T10:00+14:00"],
    temperature_2m=["4", None, True, float("nan"), 71],
    wind_speed_10m=[float("inf"), -1],
    precipitation=[-0.1],
    weather_code=[61.5, 100, -1],
)
REDIRECTS = ("/forecast", "http://[", "http://\x80/")
PLACES = json.dumps({"results": [BERLIN]}).encode()
GEOCODER_FAULTS = {
    "empty": answer(b""),
    "list": answer(b"[]"),
    "html": answer(b"<!doctype html><title>Welcome</title>"),
    "truncated": answer(PLACES[:-1]),
    "no UTF-8": answer(b"\xff\xfe{}"),
    "too deep": answer(b"[" * 100_000),
    "too large": answer(PLACES.ljust(MAX_BODY + 1)),
    "compressed": answer(gzip.compress(PLACES), headers=("Content-Encoding: gzip",)),
    "error": answer({"error": True, "reason": "overloaded"}),
    **{f"results {bad}": answer({"results": bad}) for bad in (None, BERLIN, [None])},
    **{f"place {bad}": geocoded(BERLIN | bad) for bad in BAD_PLACES},
    "204": answer(b"", status="204 No Content"),
    **{status: answer(PLACES, status=f"{status} Oops") for status in ("400", "429", "500")},
    **{url: answer(PLACES, status="302 Found", headers=(f"Location: {url}",)) for url in REDIRECTS},
}
FORECAST_FAULTS = {
    "no values": answer({}),
    "null": answer({"current": None}),
    "another zone": answer({"current": CURRENT, "utc_offset_seconds": 3600}),
    **{f"current {bad}": forecast(**bad) for bad in BAD_VALUES},
}


class TestPayload:
    """What does not look right is a failure, never a 500, and never an answer."""

    @pytest.mark.parametrize("fault", GEOCODER_FAULTS.values(), ids=GEOCODER_FAULTS.keys())
    async def test_a_faulty_geocoder_is_refused(self, upstream: Upstream, fault: Behaviour) -> None:
        upstream.geocode = fault
        assert await refused(upstream.service(client=client(follow_redirects=True))) == "5"
        assert upstream.paths == ["/search"]
        assert "accept-encoding: identity" in upstream.headers[0]

    @pytest.mark.parametrize("fault", FORECAST_FAULTS.values(), ids=FORECAST_FAULTS.keys())
    async def test_a_faulty_forecast_is_refused(self, upstream: Upstream, fault: Behaviour) -> None:
        upstream.forecast = fault
        assert await refused(upstream.service()) == "5"
        assert upstream.paths == ONE_LOOKUP

    async def test_a_body_of_the_greatest_size_is_read(self, upstream: Upstream) -> None:
        upstream.geocode = answer(PLACES.ljust(MAX_BODY))
        assert wire(await upstream.service().at("Berlin")) == EXPECTED
