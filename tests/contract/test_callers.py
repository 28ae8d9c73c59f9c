"""Every route, called by every kind of caller: who may, by the table in `routes`; and common rules."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from service.container.api import Container
from service.identity.models import SCOPES
from service.platform.http.openapi import needs_caller
from service.platform.http.problems import OAUTH_PATHS
from service.weather.open_meteo import OpenMeteo
from service.weather.service import WeatherService
from tests.contract.routes import CALLERS, ROUTES, Route
from tests.contract.upstream import weather_upstream
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make

pytestmark = pytest.mark.usefixtures("short_streams")

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
each_route = pytest.mark.parametrize("route", ROUTES, ids=str)
each_template = pytest.mark.parametrize("template", sorted({route.template for route in ROUTES}))
readable = pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "GET"], ids=str)


@pytest.fixture(scope="module", autouse=True)
async def weather(app: FastAPI, container: Container) -> AsyncIterator[None]:
    """The route that asks another service has one to ask."""
    with weather_upstream() as upstream:
        service = WeatherService(OpenMeteo(f"{upstream}/search", f"{upstream}/forecast"))
        app.state.container = replace(container, weather=service)
        yield
        app.state.container = container
        await service.aclose()


async def prepared(make: Make, route: Route, caller: str) -> tuple[Api, dict[str, Any]]:
    """A client of the caller's and the request, on a state of its own: another owner, another thing."""
    owner = await make.user()
    request = await route.request(make, owner)
    if caller == "anonymous":
        return make.api, request
    if caller == "administrator":
        return (await make.admin()).api, request
    return owner.api if caller == "owner" else (await make.user()).api, request


async def ask(make: Make, route: Route, caller: str) -> httpx2.Response:
    client, request = await prepared(make, route, caller)
    return await client.request(**request)


def allowed_caller(route: Route) -> str:
    return next(caller for caller, status in zip(CALLERS, route.expects, strict=True) if status < 300)


def comparable(answer: httpx2.Response) -> dict[str, str]:
    """The headers that two requests for the same thing share: the second may be answered from memory."""
    own = ("x-request-id", "ratelimit", "ratelimit-policy")
    return {name: value for name, value in answer.headers.items() if name not in own}


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
async def test_what_an_api_key_may(make: Make, route: Route) -> None:
    """By its scope alone: with all others a key is refused, or anonymous on public routes."""
    scope, status = route.key or (None, 0)
    others = [each for each in SCOPES if each != scope]
    stranger = 403 if route.expects[0] == 401 else route.expects[0]
    documented = make.api.app.openapi()["paths"].get(route.template, {}).get(route.method.lower(), {})
    if needs_caller(documented):
        assert documented["security"] == [{"OAuth2": []}, *([{"ApiKey": [scope]}] if scope else [])]
    elif scope:
        assert documented["security"] == [{}, {"OAuth2": []}, {"ApiKey": [scope]}]
    for scopes, expected in ((others, stranger), ([scope], status)):
        if scopes == [None]:
            continue
        _, request = await prepared(make, route, "anonymous")
        answer = await (await make.key(*scopes)).api.request(**request)
        assert answer.status_code == expected, answer.text
        if expected == 403 and needs_caller(documented):
            assert_problem(answer, 403, "insufficient_scope")
            challenge = 'Bearer error="insufficient_scope"' + (f', scope="{scope}"' if scope else "")
            assert answer.headers["www-authenticate"] == challenge


@each_route
async def test_a_bad_token_is_refused_wherever_one_is_looked_at(make: Make, route: Route) -> None:
    client, request = await prepared(make, route, "anonymous")
    answer = await client.signed_in("x.y.z").request(**request)
    if route.ignores_tokens:
        assert answer.status_code == 200
    else:
        assert_problem(answer, 401, "invalid_token")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@each_route
async def test_a_token_is_asked_for_where_the_documentation_says(make: Make, route: Route) -> None:
    documented = make.api.app.openapi()["paths"].get(route.template, {}).get(route.method.lower(), {})
    assert needs_caller(documented) == (route.expects[0] == 401)
    if needs_caller(documented):
        answer = await ask(make, route, "anonymous")
        assert_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


@each_route
async def test_a_trailing_slash_changes_nothing(make: Make, route: Route) -> None:
    caller = allowed_caller(route)
    client, request = await prepared(make, route, caller)
    path, mark, query = request["url"].partition("?")
    answer = await client.request(**{**request, "url": f"{path.rstrip('/')}/{mark}{query}"})
    assert answer.status_code == route.expects[CALLERS.index(caller)]
    if route.method == "GET":
        plain = await client.request(**request)
        assert (answer.content, comparable(answer)) == (plain.content, comparable(plain))


@readable
async def test_head_is_get_without_the_body(make: Make, route: Route) -> None:
    client, request = await prepared(make, route, allowed_caller(route))
    whole = await client.request(**request)
    head = await client.request(**{**request, "method": "HEAD"})
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert comparable(head) == comparable(whole)
    assert whole.content
    # A stream has no length.
    length = None if route.template.endswith("/stream") else str(len(whole.content))
    assert head.headers.get("content-length") == length


@each_template
async def test_any_other_method_is_405_with_the_allowed_ones(api: Api, template: str) -> None:
    known = {route.method for route in ROUTES if route.template == template}
    allowed = ", ".join(sorted(known | ({"HEAD"} if "GET" in known else set())))
    path = re.sub(r"\{\w+\}", "1", template)
    for method in [*METHODS, *([] if "GET" in known else ["HEAD"])]:
        if method in known:
            continue
        answer = await api.root(path, method)
        assert (method, answer.status_code, answer.headers["allow"]) == (method, 405, allowed)
        assert answer.headers["content-type"].endswith("json")
        if method != "HEAD" and template not in OAUTH_PATHS:
            assert_problem(answer, 405, "method_not_allowed")


async def test_an_unknown_method_is_405_too(api: Api) -> None:
    answer = await api.request("BREW", "/items")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"
