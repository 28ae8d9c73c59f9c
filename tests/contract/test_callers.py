"""Every route, asked by everybody: who may, by the table in `routes`; and what is the same for each."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from service.dependencies.parts import Parts
from service.services.weather import WeatherService
from tests.client import Api, assert_problem
from tests.contract.routes import CALLERS, ROUTES, Route
from tests.contract.upstream import weather_upstream
from tests.factories import Make

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
each_route = pytest.mark.parametrize("route", ROUTES, ids=str)
each_template = pytest.mark.parametrize("template", sorted({route.template for route in ROUTES}))
readable = pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "GET"], ids=str)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with weather_upstream() as url:
        yield url


@pytest.fixture(autouse=True)
async def weather(
    app: FastAPI, parts: Parts, upstream: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    service = WeatherService(f"{upstream}/search", f"{upstream}/forecast")
    monkeypatch.setattr(app.state, "parts", replace(parts, weather=service))
    yield
    await service.aclose()


async def ask(make: Make, route: Route, caller: str, **changes: Any) -> httpx2.Response:
    """On a state of its own: another owner, another thing that is owned."""
    owner = await make.user()
    request = await route.request(make, owner)
    if caller == "anonymous":
        client = make.api
    elif caller == "administrator":
        client = (await make.admin()).api
    else:
        client = owner.api if caller == "owner" else (await make.user()).api
    return await client.request(**{**request, **changes})


def whoever_may(route: Route) -> str:
    return next(caller for caller, status in zip(CALLERS, route.expects, strict=True) if status < 300)


def comparable(answer: httpx2.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name != "x-request-id"}


def test_the_table_has_every_route_and_no_other(app: FastAPI) -> None:
    known = {
        (method, context.path_format)
        for context in iter_route_contexts(app.routes)
        for method in context.methods or ()
    }
    assert known == {(route.method, route.template) for route in ROUTES}


@each_route
async def test_who_may(make: Make, route: Route) -> None:
    seen = {caller: (await ask(make, route, caller)).status_code for caller in CALLERS}
    assert seen == dict(zip(CALLERS, route.expects, strict=True))


@each_route
async def test_a_bad_token_is_refused_wherever_one_is_looked_at(make: Make, route: Route) -> None:
    answer = await ask(make, route, "anonymous", headers={"Authorization": "Bearer x.y.z"})
    if route.is_public:
        assert answer.status_code == 200
    else:
        assert_problem(answer, 401, "invalid_token")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@each_route
async def test_a_token_is_asked_for_where_one_is_needed(make: Make, route: Route) -> None:
    answer = await ask(make, route, "anonymous")
    if route.expects[0] == 401:
        assert_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
    document = make.api.app.openapi()["paths"].get(route.template, {})
    needed = "security" in document.get(route.method.lower(), {})
    assert needed == (route.expects[0] == 401)


@each_route
async def test_a_trailing_slash_changes_nothing(make: Make, route: Route) -> None:
    caller = whoever_may(route)
    owner = await make.user()
    request = await route.request(make, owner)
    path, mark, query = request["url"].partition("?")
    slashed = await ask_as(make, route, caller, owner, request, path + "/" + mark + query)
    assert slashed.status_code == route.expects[CALLERS.index(caller)]
    assert "location" not in slashed.headers or not slashed.headers["location"].endswith("/")
