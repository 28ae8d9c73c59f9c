"""The class of every route of the API: what handlers need not do themselves.

A dependency cannot: it is closed before the response, or never sees it. Here the final bytes are at hand
while the transaction is still open, and a request can be run again from its start.
"""

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from functools import wraps
from typing import Any, Final, get_args, get_origin

from fastapi import Request, Response
from fastapi.routing import APIRoute

from service.errors import Contention
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
from service.platform.http.idempotency.retries import Idempotency
from service.platform.http.injection import Component, component
from service.platform.http.openapi import Contract, Operation, problems
from service.platform.http.openapi_validation import check_against_openapi
from service.platform.http.request_state import route_template, state_of
from service.platform.http.response_cache import PublicRead

#: Where FastAPI looks for what closes function-scoped dependencies: the transaction among them.
STACK: Final = "fastapi_function_astack"
#: The most to wait before each further run, in seconds; a part of it, so that rivals do not meet again.
PAUSES: Final = (0.02, 0.06, 0.2)

#: The name of the request, where the handler does not ask for it.
_REQUEST: Final = "request_of_endpoint"

Endpoint = Callable[..., Awaitable[Any]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Route(APIRoute):
    """Authorization, bodies, entity tags and 304, idempotency keys, and a second run after a deadlock.

    Authorization and the body come before FastAPI's work: a request that is refused has no body read and no
    dependency solved.
    """

    #: Whether the handler itself deals with bad credentials.
    lenient = False

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        methods, responses = set(options["methods"]), dict(options.get("responses") or {})
        self.public_read = PublicRead.of(endpoint)
        self.idempotency = idempotency = Idempotency.of(methods, path, endpoint)
        if has_tag(endpoint):
            _carries_tag(responses, options.get("status_code") or 200)
        if methods == {"GET"} and (has_tag(endpoint) or self.public_read):
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
        super().__init__(path, adapted(endpoint, idempotency), **options)

    def get_route_handler(self) -> Handler:
        run = super().get_route_handler()
        rules = tuple(access_rules(self.dependant))
        self.authorization = authorization = Authorization(rules, self.lenient)
        handle = self._reading(run) if self.methods == {"GET"} else self._writing(run)
        reader, checks = Reader.of(self), tuple(access_checks(self))

        operation: Operation | None = None

        async def authorized(request: Request) -> Response:
            nonlocal operation
            if operation is None:
                template = route_template(request.scope)
                operation = component(request, Contract).operation(request.method, template)
            await authorization.authorize(request, operation)
            try:
                check_against_openapi(request, operation)
                if reader is not None:
                    request = whole = await reader.read(request, operation)
                    if whole.waited:
                        await authorization.confirm(whole)
                    reader.parse(whole)
                return await handle(request)
            except INPUT_ERRORS as error:
                await check_access(request, checks, error)
                raise

        return authorized

    def _reading(self, run: Handler) -> Handler:
        public_read = self.public_read

        async def handle(request: Request) -> Response:
            response = await run(request)
            _set_tag(request, response)
            if public_read is not None:
                public_read.declare(request, response)
            return not_modified(request, response)

        return handle

    def _writing(self, run: Handler) -> Handler:
        idempotency, model = self.idempotency, self.response_model
        creates = self.methods == {"POST"} or conditional(self.endpoint)

        async def once(request: Request) -> Response:
            async with AsyncExitStack() as stack:
                request.scope[STACK] = stack
                response = await run(request)
                _set_tag(request, response)
                await idempotency.store(request, response, model)
            return response

        async def handle(request: Request) -> Response:
            idempotency.read(request)
            if not creates:
                require_absence(request)
            for longest in PAUSES:
                try:
                    return await once(request)
                except Contention:
                    # Nothing was done: one request is one transaction, and that was rolled back.
                    metrics.RETRIES.labels(route_template(request.scope)).inc()
                    await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - spreads rivals
            return await once(request)

        return handle


class OpenRoute(Route):
    """Where bad credentials are the handler's business."""

    lenient = True


def _carries_tag(responses: dict[int | str, dict[str, Any]], status: int) -> None:
    tag = {"headers": {"ETag": {"$ref": "#/components/headers/ETag"}}}
    responses[status] = {**responses.get(status, {}), **tag}


def _set_tag(request: Request, response: Response) -> None:
    """The tag of the resource that the handler has returned."""
    state = state_of(request.scope)
    if state.etag is not None:
        response.headers["ETag"], state.etag = state.etag, None


class ComponentRoute(APIRoute):
    """A route whose handler may name components."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, adapted(endpoint), **options)


def has_tag(endpoint: Endpoint) -> bool:
    """Whether the handler returns a resource that has an entity tag."""
    shown = schema_of(inspect.signature(endpoint).return_annotation)
    return isinstance(shown, type) and issubclass(shown, Versioned) and shown.tagged


def adapted(endpoint: Endpoint, idempotency: Idempotency | None = None) -> Endpoint:
    """The handler as FastAPI calls it: given its components, run once for an idempotency key, and its
    resource's tag noted.

    FastAPI is asked for none of this: one of its dependencies costs 20 microseconds.
    """
    signature, tagged = inspect.signature(endpoint), has_tag(endpoint)
    kinds = {each.name: get_args(each.annotation)[0] for each in _components(signature)}
    session = idempotency.session if idempotency else None
    if not (kinds or tagged or session):
        return endpoint

    rest = [each for each in signature.parameters.values() if each.name not in kinds]
    # FastAPI hands the request to one parameter alone.
    own = next((each.name for each in rest if each.annotation is Request), None)

    @wraps(endpoint)
    async def run(**values: Any) -> Any:
        request: Request = values[own] if own else values.pop(_REQUEST)
        if idempotency and session:
            replayed = await idempotency.replay(request, values[session])
            if replayed is not None:
                return replayed
        for name, kind in kinds.items():
            values[name] = component(request, kind)
        result = await endpoint(**values)
        if tagged and isinstance(result, Versioned):
            state_of(request.scope).etag = tag_of(result)
        return result

    if own is None:
        rest.append(inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request))
    run.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
    return run


def _components(signature: inspect.Signature) -> list[inspect.Parameter]:
    return [each for each in signature.parameters.values() if Component in get_args(each.annotation)[1:]]
