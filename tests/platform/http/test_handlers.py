"""Handlers get from our routes the arguments that FastAPI would give them, with the same faults."""

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import httpx2
import pytest
from fastapi import BackgroundTasks, Body, Depends, FastAPI, Form, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from service.platform.http.body import Reader, ReadRequest
from service.platform.http.handlers import HandlerRoute
from service.platform.http.route import RouteTable

TENANT: Final = {"headers": {"x-tenant": "a"}}
called: list[str] = []


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    price: Decimal = Decimal(1)


async def get_tenant(tenant: Annotated[str | None, Header(alias="X-Tenant", max_length=3)] = None) -> str:
    called.append("tenant")
    return tenant or "none"


async def get_page(
    tenant: Annotated[str, Depends(get_tenant)],
    response: Response,
    limit: Annotated[int, Query(ge=1, le=9)] = 5,
    tags: Annotated[list[str] | None, Query()] = None,
) -> dict[str, Any]:
    response.headers["X-Page"] = f"{tenant}/{limit}"
    return {"limit": limit, "tags": tags}


async def read(
    thing_id: Annotated[int, Path(ge=1)],
    tenant: Annotated[str, Depends(get_tenant)],
    page: Annotated[dict[str, Any], Depends(get_page)],
    request: Request,
    *,
    since: date | None = None,
    sort: Literal["id", "name"] = "id",
    seen: Annotated[bool, Query(alias="is_seen")] = False,
) -> dict[str, Any]:
    return {
        "id": thing_id,
        "tenant": tenant,
        "page": page,
        "path": request.url.path,
        "since": since,
        "sort": sort,
        "seen": seen,
    }


async def create(thing: Thing, page: Annotated[dict[str, Any], Depends(get_page)]) -> Thing:
    return thing if page["limit"] < 9 else Thing(name="many")


async def create_embedded(thing: Thing, count: Annotated[int, Body(ge=1)]) -> dict[str, Any]:
    return {"thing": thing, "count": count}


async def sign_in(
    name: Annotated[str, Form(min_length=2)], age: Annotated[int, Form()] = 1
) -> dict[str, Any]:
    return {"name": name, "age": age}


async def remove(thing_id: int, response: Response) -> None:
    response.headers["X-Removed"] = str(thing_id)


ROUTES: list[tuple[str, str, Any, int]] = [
    ("GET", "/things/{thing_id}", read, 200),
    ("POST", "/things", create, 201),
    ("POST", "/counts", create_embedded, 201),
    ("POST", "/names", sign_in, 200),
    ("DELETE", "/things/{thing_id}", remove, 204),
]


async def on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [{**each, "ctx": None, "input": None} for each in error.errors()]
    # FastAPI names the faults of a dependency once for each time that the dependency is named.
    return JSONResponse([each for place, each in enumerate(faults) if each not in faults[:place]], 422)


class OurRoute(HandlerRoute):
    """Reads the body as the routes of the API do, and shows faults as they are."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        whole = ReadRequest(request, await request.body(), pieces=1, seconds=0)
        Reader(is_form=self.path == "/names", is_large=False).parse(whole)
        try:
            response = await self.run(whole)
        except RequestValidationError as error:
            response = await on_invalid(request, error)
        await response(scope, receive, send)


async def ask(route_class: type[APIRoute], method: str, path: str, more: dict[str, Any]) -> Any:
    called.clear()
    app = FastAPI(openapi_url=None)
    for verb, template, endpoint, status in ROUTES:
        app.router.routes.append(route_class(template, endpoint, methods=[verb], status_code=status))
    app.add_exception_handler(RequestValidationError, on_invalid)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://shop.example"
    ) as client:
        answer = await client.request(method, path, **more)
    headers = {name: value for name, value in answer.headers.items() if name.startswith("x-")}
    return answer.status_code, answer.content, headers, [*called]


@pytest.mark.parametrize(
    ("request_line", "more", "status"),
    [
        ("GET /things/7", {}, 200),
        (
            "GET /things/7?limit=3&sort=name&since=2026-11-30&is_seen=true",
            {"headers": {"x-tenant": "a"}},
            200,
        ),
        ("GET /things/7?tags=a&tags=b&unknown=1", {}, 200),
        ("GET /things/0", {}, 422),
        ("GET /things/x?limit=0&sort=price&since=soon&is_seen=2", {"headers": {"x-tenant": "long"}}, 422),
        ("GET /things/7?limit=", {}, 422),
        ("POST /things", {"json": {"name": "Chai", "price": "18.00"}}, 201),
        ("POST /things?limit=9", {"json": {"name": "Chai"}}, 201),
        ("POST /things?limit=10", {"json": {"name": 1, "colour": "red"}}, 422),
        ("POST /things", {}, 422),
        ("POST /things", {"content": "null", "headers": {"content-type": "application/json"}}, 422),
        ("POST /things", {"json": [1]}, 422),
        ("POST /counts", {"json": {"thing": {"name": "Chai"}, "count": 2}}, 201),
        ("POST /counts", {"json": {"thing": {}, "count": 0}}, 422),
        ("POST /counts", {}, 422),
        ("POST /names", {"data": {"name": "Ada", "age": "36"}}, 200),
        ("POST /names", {"data": {"name": "A", "age": "x"}}, 422),
        ("POST /names", {"data": {}}, 422),
        ("DELETE /things/7", {}, 204),
        ("DELETE /things/x", {}, 422),
    ],
)
async def test_a_request_is_answered_as_fastapi_would(
    request_line: str, more: dict[str, Any], status: int
) -> None:
    method, _, path = request_line.partition(" ")
    theirs = await ask(APIRoute, method, path, more)
    assert theirs[0] == status
    assert await ask(OurRoute, method, path, more) == theirs


def test_a_handler_that_would_take_a_thread_is_refused() -> None:
    def read_slowly() -> None: ...

    with pytest.raises(TypeError, match="/slow: make the handler async"):
        HandlerRoute("/slow", read_slowly, methods=["GET"])


def test_a_dependency_that_asks_for_what_routes_do_not_give_is_refused() -> None:
    async def read_in_background(tasks: BackgroundTasks) -> None: ...

    with pytest.raises(TypeError, match="/later: routes give handlers no"):
        HandlerRoute("/later", read_in_background, methods=["GET"])


def test_every_path_is_found_in_the_table_as_fastapi_finds_it(app: FastAPI) -> None:
    """Also where a fixed path fits a template: /items/removed is no item."""
    table = RouteTable(app, routes=app.routes)
    routes = [route for route in app.routes if isinstance(route, HandlerRoute)]
    assert len(routes) > 70
    for route in routes:
        for method in route.methods or ():
            path = re.sub(r"{\w+}", "7", route.path_format)
            scope: Scope = {"type": "http", "method": method, "path": path}
            first = next(each for each in routes if each.matches(scope)[0] is Match.FULL)
            assert first is route
            assert table.find(method, path) == (route, route.matches(scope)[1]["path_params"])


@pytest.mark.parametrize(
    "path", ["/api/v1/items/", "/api/v1/items//stock", "//api/v1/items", "", "/api/v1/item"]
)
def test_a_path_that_no_route_has_is_not_in_the_table(app: FastAPI, path: str) -> None:
    assert RouteTable(app, routes=app.routes).find("GET", path) is None
