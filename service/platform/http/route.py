"""Routes of the API: what their handlers need not do themselves, and how the route of a request is found.

The final bytes of a response are at hand while the transaction is still open, and a request can be run again
from its start. A dependency cannot see to either: it is closed before the response, or never sees it.
"""

import asyncio
import inspect
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_origin

from fastapi import APIRouter, Request, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Contention, OutcomeUnknown, ServiceError, Unavailable
from service.platform.http import metrics
from service.platform.http.access import (
    INPUT_ERRORS,
    Authorization,
    access_checks,
    access_rules,
    check_access,
)
from service.platform.http.body import Reader
from service.platform.http.documents import Document, schema_of
from service.platform.http.etag.conditions import conditional, not_modified, require_absence
from service.platform.http.etag.versions import Versioned, tag_of
from service.platform.http.handlers import Endpoint, HandlerRoute
from service.platform.http.idempotency.retries import Idempotency
from service.platform.http.injection import component
from service.platform.http.openapi import Contract, Operation, operation_id, problems
from service.platform.http.openapi_validation import check_against_openapi
from service.platform.http.public_reads import PublicRead
from service.platform.http.request_state import API_PREFIX, route_template

#: The most to wait before each further run, in seconds; a part of it, so that rivals do not meet again.
PAUSES: Final = (0.02, 0.06, 0.2)
#: What stands for a parameter in the key of a route: no path has it.
PARAMETER: Final = "{}"

#: A method, and the parts of a path between its slashes.
Key = tuple[str, tuple[str, ...]]


class Route(HandlerRoute):
    """Authorization, bodies, entity tags and 304, idempotency keys, and a second run after a deadlock.

    Authorization and the body come before the handler's arguments: a request that is refused has no body
    read and no dependency called.
    """

    #: Whether the handler itself deals with bad credentials.
    lenient = False

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        methods, responses = set(options["methods"]), dict(options.get("responses") or {})
        self.public_read, self._tagged = PublicRead.of(endpoint), has_tag(endpoint)
        self._idempotency = idempotency = Idempotency.of(methods, path, endpoint)
        if self._tagged:
            _carries_tag(responses, options.get("status_code") or 200)
        self._reads = methods == {"GET"}
        if self._reads and (self._tagged or self.public_read):
            responses[304] = {"description": "The version in `If-None-Match` is still current."}
            for status in (200, 304):
                _carries_tag(responses, status)
        if get_origin(shown := inspect.signature(endpoint).return_annotation) is Document:
            options["response_model"] = schema_of(shown)
        if idempotency.session:
            extra = options.get("openapi_extra") or {}
            options["openapi_extra"] = {**extra, "parameters": [idempotency.parameter]}
        if idempotency.refused:
            responses = {**problems(400), **responses}
        options["responses"] = responses
        super().__init__(path, endpoint, **options)
        self.authorization = Authorization(tuple(access_rules(self.dependant)), self.lenient)
        self._reader, self._checks = Reader.of(self), tuple(access_checks(self))
        self._creates = methods == {"POST"} or conditional(endpoint)
        self._operation: Operation | None = None

    async def respond(self, request: Request) -> Response:
        operation = self._operation
        if operation is None:
            contract = component(request, Contract)
            operation = self._operation = contract.operation(request.method, self.path_format)
        await self.authorization.authorize(request, operation)
        try:
            check_against_openapi(request, operation)
            if self._reader is not None:
                request = whole = await self._reader.read(request, operation)
                if whole.waited:
                    await self.authorization.confirm(whole)
                self._reader.parse(whole)
            return await (self._read(request) if self._reads else self._write(request))
        except INPUT_ERRORS as error:
            await check_access(request, self._checks, error)
            raise

    async def finish(self, request: Request, values: dict[str, Any], shared: Response | None) -> Response:
        idempotency = self._idempotency
        if idempotency.session:
            replayed = await idempotency.replay(request, values[idempotency.session])
            if replayed is not None:
                return replayed
        result = await self._run(**values)
        response = self._response(result, shared)
        if self._tagged and isinstance(result, Versioned):
            response.headers["ETag"] = tag_of(result)
        await idempotency.store(request, response, self.response_model)
        return response

    async def _read(self, request: Request) -> Response:
        response = await self.run(request)
        if self.public_read is not None:
            self.public_read.declare(request, response)
        return not_modified(request, response)

    async def _write(self, request: Request) -> Response:
        self._idempotency.read(request)
        if not self._creates:
            require_absence(request)
        for longest in PAUSES:
            try:
                return await self._once(request)
            except Contention:
                # Nothing was done: one request is one transaction, and that was rolled back.
                metrics.RETRIES.labels(route_template(request.scope)).inc()
                await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - spreads rivals
        return await self._once(request)

    async def _once(self, request: Request) -> Response:
        try:
            return await self.run(request)
        except Contention:
            raise
        except ServiceError as refusal:
            try:
                replayed = await self._idempotency.look_again(request)
            except Unavailable:
                # `unavailable` says that nothing was done, and this request may have been committed.
                if isinstance(refusal, OutcomeUnknown):
                    raise refusal from None
                raise
            if replayed is None:
                raise
            return replayed


class OpenRoute(Route):
    """Where bad credentials are the handler's business."""

    lenient = True


@dataclass(frozen=True, slots=True)
class Entry:
    route: HandlerRoute
    #: The names of its parameters, and where in the path each stands.
    parameters: tuple[tuple[str, int], ...]


class RouteTable:
    """Finds the route of a request in a table, where FastAPI tries one route after the other: the innermost
    middleware. What is not in the table (a wrong path or method, the docs) is left to
    FastAPI, which answers 404 and 405. Of two routes that fit a path, the one with fewer parameters is taken.
    """

    def __init__(self, app: ASGIApp, *, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self._entries: dict[Key, Entry] = {}
        #: For each number of parts: which of them are parameters, the fewest first.
        self._shapes: dict[int, list[tuple[int, ...]]] = {}
        for route in routes:
            if isinstance(route, HandlerRoute):
                self._add(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.find(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self.app(scope, receive, send)
        else:
            scope["route"], scope["path_params"] = found
            await found[0].handle(scope, receive, send)

    def find(self, method: str, path: str) -> tuple[HandlerRoute, dict[str, str]] | None:
        """The route, and the parameters in its path."""
        parts = path.split("/")
        for shape in self._shapes.get(len(parts), ()):
            entry = self._entries.get((method, _template(parts, shape)))
            if entry is not None:
                values = {name: parts[position] for name, position in entry.parameters}
                # A parameter has at least one character.
                return (entry.route, values) if all(values.values()) else None
        return None

    def _add(self, route: HandlerRoute) -> None:
        parts = route.path_format.split("/")
        shape = tuple(position for position, part in enumerate(parts) if part.startswith("{"))
        entry = Entry(route, tuple((parts[position][1:-1], position) for position in shape))
        for method in route.methods or ():
            self._entries.setdefault((method, _template(parts, shape)), entry)
        shapes = self._shapes.setdefault(len(parts), [])
        if shape not in shapes:
            shapes.append(shape)
            shapes.sort(key=len)


def _template(parts: Sequence[str], shape: tuple[int, ...]) -> tuple[str, ...]:
    if not shape:
        return tuple(parts)
    template = [*parts]
    for position in shape:
        template[position] = PARAMETER
    return tuple(template)


def api_router(prefix: str = "", *, route_class: type[Route] = Route, **options: Any) -> APIRouter:
    """A router of the API.

    Its routes have their whole paths: FastAPI would make each a second time where a router is included under
    a prefix.
    """
    options["generate_unique_id_function"] = operation_id
    return APIRouter(prefix=API_PREFIX + prefix, route_class=route_class, **options)


def operations_router(prefix: str = "", **options: Any) -> APIRouter:
    """A router of what machines and operators ask, outside of the API."""
    options["generate_unique_id_function"] = operation_id
    return APIRouter(prefix=prefix, route_class=HandlerRoute, **options)


def _carries_tag(responses: dict[int | str, dict[str, Any]], status: int) -> None:
    known = responses.get(status, {})
    headers = {**known.get("headers", {}), "ETag": {"$ref": "#/components/headers/ETag"}}
    responses[status] = {**known, "headers": headers}


def has_tag(endpoint: Endpoint) -> bool:
    """Whether the handler returns a resource that has an entity tag."""
    shown = schema_of(inspect.signature(endpoint).return_annotation)
    return isinstance(shown, type) and issubclass(shown, Versioned) and shown.tagged
