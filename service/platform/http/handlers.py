"""How a handler is run: with its arguments, and with the components and the session that it names.

FastAPI analyses handlers and documents them. It does not run them: it walks through its description of a
handler at every request, which takes longer than a small read in the database. Here it is walked through
once, when the route is made, and what is left is a list of steps. Each parameter is still validated by
FastAPI, so that faults are named as its documentation says. docs/adr/0040 says what was measured.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import wraps
from typing import Any, Final, Self, cast, get_args

from fastapi import Request, Response
from fastapi._compat import ModelField, field_annotation_is_scalar
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_body_to_args, request_params_to_args
from fastapi.exceptions import RequestValidationError
from fastapi.params import Header, Param
from fastapi.routing import APIRoute
from fastapi.utils import is_body_allowed_for_status_code
from pydantic_core import PydanticUndefined
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from service.platform.database import Database, Session
from service.platform.http.access import INPUT_ERRORS
from service.platform.http.body import ReadRequest
from service.platform.http.injection import Component, Reading, Transaction, component
from service.platform.http.problems import answer

#: Defaults of these types are the same for all requests: no handler can change one.
IMMUTABLE: Final = (type(None), bool, int, str, Decimal, datetime)

Endpoint = Callable[..., Awaitable[Any]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the path, the query, the headers or the cookies."""

    field: ModelField
    #: Its name in the request.
    key: str
    place: tuple[str, str]
    #: Whether its value is the one text that stands under its name.
    is_scalar: bool
    #: Whether `default` is its value where it is not sent.
    has_default: bool
    default: Any

    @classmethod
    def of(cls, field: ModelField) -> Self:
        values, faults = request_params_to_args([field], {})
        default = values.get(field.name)
        info = cast("Param", field.field_info)
        is_scalar = field_annotation_is_scalar(info.annotation) and not (
            isinstance(info, Header) and field.alias == field.name
        )
        has_default = is_scalar and not faults and isinstance(default, IMMUTABLE)
        return cls(field, field.alias, (info.in_.value, field.alias), is_scalar, has_default, default)

    def read(self, sent: Mapping[str, Any], values: dict[str, Any]) -> list[Any]:
        """Add its value to `values`. Returns its faults as FastAPI reports them."""
        text = sent.get(self.key) if self.is_scalar else None
        if text is not None:
            value, faults = self.field.validate(text, values, loc=self.place)
            if not faults:
                values[self.field.name] = value
            return faults
        if self.has_default:
            values[self.field.name] = self.default
            return []
        found, faults = request_params_to_args([self.field], sent)
        values.update(found)
        return faults


@dataclass(frozen=True, slots=True)
class Step:
    """A dependency, or the handler itself, whose step is the last one."""

    call: Callable[..., Awaitable[Any]]
    #: The names of its parameters that are results of other steps, and their positions.
    inputs: tuple[tuple[str, int], ...]
    path: tuple[Parameter, ...]
    query: tuple[Parameter, ...]
    header: tuple[Parameter, ...]
    cookie: tuple[Parameter, ...]
    body: list[ModelField]
    request: str | None
    response: str | None

    def read(self, request: Request, values: dict[str, Any]) -> list[Any]:
        """Add to `values` what the request has, except for the body. Returns the faults."""
        faults: list[Any] = []
        for parameter in self.path:
            faults += parameter.read(request.path_params, values)
        if self.query:
            sent = request.query_params if request.scope["query_string"] else {}
            for parameter in self.query:
                faults += parameter.read(sent, values)
        for parameter in self.header:
            faults += parameter.read(request.headers, values)
        for parameter in self.cookie:
            faults += parameter.read(request.cookies, values)
        if self.request is not None:
            values[self.request] = request
        return faults


class Arguments:
    """The arguments of one handler. `embed`: whether the body is an object with a member for each field."""

    def __init__(self, dependant: Dependant, *, embed: bool) -> None:
        self._embed = embed
        self._steps = _steps(dependant)
        self._needs_response = any(step.response for step in self._steps)

    async def of(self, request: Request, body: Any) -> tuple[dict[str, Any], Response | None]:
        """The arguments by name, and the response whose headers and status the handler sets, if any does.

        `body` is the parsed body, or pydantic's Undefined. Raises RequestValidationError with all faults, and
        what a dependency raises.
        """
        response = _partial_response() if self._needs_response else None
        results: list[Any] = [None] * len(self._steps)
        faults: list[Any] = []
        failed: set[int] = set()
        values: dict[str, Any] = {}
        last = len(results) - 1
        for position, step in enumerate(self._steps):
            values = {name: results[given] for name, given in step.inputs}
            found = step.read(request, values)
            if step.body:
                sent, wrong = await request_body_to_args(step.body, body, self._embed)
                values.update(sent)
                found += wrong
            if step.response is not None:
                values[step.response] = response
            if found or (failed and any(given in failed for _, given in step.inputs)):
                faults += found
                failed.add(position)
            elif position < last:
                results[position] = await step.call(**values)
        if faults:
            raise RequestValidationError(faults, body=body)
        return values, response


def _partial_response() -> Response:
    """What a handler may set headers and the status of, as FastAPI gives it."""
    response = Response()
    del response.headers["Content-Length"]
    response.status_code = None  # type: ignore[assignment]  # not set yet
    return response


def _steps(dependant: Dependant) -> list[Step]:
    """What the handler needs comes before it; a dependency that is named twice comes once."""
    known: dict[Callable[..., Any], int] = {}
    steps: list[Step] = []

    def add(each: Dependant) -> int:
        inputs = tuple((inner.name, add(inner)) for inner in each.dependencies)
        call = each.call
        if call is None or any(
            (each.websocket_param_name, each.background_tasks_param_name, each.security_scopes_param_name)
        ):
            raise TypeError(f"{each.path}: routes give handlers no web sockets, background tasks or scopes")
        if call not in known:
            steps.append(_step(each, call, tuple((name, given) for name, given in inputs if name)))
            known[call] = len(steps) - 1
        return known[call]

    add(dependant)
    return steps


def _step(dependant: Dependant, call: Callable[..., Any], inputs: tuple[tuple[str, int], ...]) -> Step:
    return Step(
        call,
        inputs,
        path=tuple(map(Parameter.of, dependant.path_params)),
        query=tuple(map(Parameter.of, dependant.query_params)),
        header=tuple(map(Parameter.of, dependant.header_params)),
        cookie=tuple(map(Parameter.of, dependant.cookie_params)),
        body=dependant.body_params,
        request=dependant.request_param_name or dependant.http_connection_param_name,
        response=dependant.response_param_name,
    )


class HandlerRoute(APIRoute):
    """Runs a handler with its arguments, with the components and the session that it names, and makes the
    response of what it returns. That is not validated again: mypy has.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, _analysed(endpoint), **options)
        parameters = inspect.signature(endpoint).parameters.values()
        self._components = [
            (each.name, get_args(each.annotation)[0]) for each in parameters if _is(each, Component)
        ]
        #: The parameter that has the session, and the method that begins it.
        self._session: tuple[str, Callable[[Database], AbstractAsyncContextManager[Session]]] | None = None
        for each in parameters:
            if _is(each, Transaction):
                self._session = (each.name, Database.transaction)
            elif _is(each, Reading):
                self._session = (each.name, Database.reading)
        if not inspect.iscoroutinefunction(endpoint):
            raise TypeError(f"{path}: make the handler async; a thread takes longer than most handlers do")
        self._run: Endpoint = endpoint
        self._arguments = Arguments(self.dependant, embed=self._embed_body_fields)
        self._status = self.status_code or 200

    def get_route_handler(self) -> Handler:
        return self.respond

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            raise HTTPException(405)
        request = Request(scope, receive, send)
        try:
            response = await self.respond(request)
        except INPUT_ERRORS as error:
            response = answer(request, error)
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        return await self.run(request)

    async def run(self, request: Request) -> Response:
        """The response of the handler. The transaction, if it has one, is committed."""
        values, shared = await self._arguments.of(request, _body(request))
        for name, kind in self._components:
            values[name] = component(request, kind)
        if self._session is None:
            return await self.finish(request, values, shared)
        name, begin = self._session
        async with begin(component(request, Database)) as session:
            values[name] = session
            return await self.finish(request, values, shared)

    async def finish(self, _: Request, values: dict[str, Any], shared: Response | None) -> Response:
        """Call the handler, and make the response: within the transaction, if the handler has one."""
        return self._response(await self._run(**values), shared)

    def _response(self, result: Any, shared: Response | None) -> Response:
        """The response of what a handler has returned. `shared`: whose headers and status it has set."""
        if isinstance(result, Response):
            return result
        status = self._status if shared is None else shared.status_code or self._status
        if is_body_allowed_for_status_code(status) and self.response_field is not None:
            response = Response(
                self.response_field.serialize_json(result), status, media_type="application/json"
            )
        else:
            response = Response(status_code=status)
        if shared is not None:
            response.raw_headers.extend(shared.raw_headers)
        return response


def _analysed(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The handler as FastAPI analyses it: without what the route itself hands over."""
    signature = inspect.signature(endpoint)
    handed = (Component, Transaction, Reading)
    rest = [each for each in signature.parameters.values() if not any(_is(each, mark) for mark in handed)]
    if len(rest) == len(signature.parameters):
        return endpoint

    @wraps(endpoint)
    def described(*_: Any) -> None:
        raise AssertionError("the route runs the handler itself")

    described.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
    return described


def _is(parameter: inspect.Parameter, mark: type[Any]) -> bool:
    return mark in get_args(parameter.annotation)[1:]


def _body(request: Request) -> Any:
    """The parsed body; pydantic's Undefined where there is none."""
    if isinstance(request, ReadRequest) and (request.content or request.parsed is not None):
        return request.parsed
    return PydanticUndefined
