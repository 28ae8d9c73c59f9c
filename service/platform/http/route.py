"""The class of every route of the API: what handlers need not do themselves.

A dependency cannot: it is closed before the answer, or never sees it. Here the final bytes are at hand
while the transaction is still open, and a request can be run again from its start.
"""

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from functools import wraps
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from service.errors import Contention
from service.platform.http import conditions
from service.platform.http.authorization import Authorization, access_rules
from service.platform.http.body import Reader
from service.platform.http.components import with_components
from service.platform.http.context import route_template
from service.platform.http.guards import FAULTS, guards_of, refuse_first
from service.platform.http.idempotency import replay
from service.platform.http.openapi import problems
from service.platform.http.validation import PublicRead, honour_contract
from service.platform.http.versions import Versioned, tag_of
from service.platform.telemetry import metrics

#: Where the framework looks for what closes function-scoped dependencies: the transaction among them.
STACK: Final = "fastapi_function_astack"
#: The most to wait before each further run, in seconds; a part of it, so that rivals do not meet again.
PAUSES: Final = (0.02, 0.06, 0.2)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Route(APIRoute):
    """Authorization, bodies, entity tags and 304, idempotency keys, and a second run after a deadlock.

    Authorization and the body come before the framework's work: a request that is refused has no body
    read and no dependency solved.
    """

    #: Whether bad credentials pass.
    lenient = False

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        endpoint = with_components(endpoint)
        shown = inspect.signature(endpoint).return_annotation
        versioned = isinstance(shown, type) and issubclass(shown, Versioned) and shown.tagged
        methods, responses = set(options["methods"]), dict(options.get("responses") or {})
        if versioned:
            endpoint = _tagged(endpoint)
            _carries_tag(responses, options.get("status_code") or 200)
        if methods == {"GET"} and (versioned or PublicRead.of(endpoint)):
            responses[304] = {"description": "What `If-None-Match` names is still what there is."}
            for status in (200, 304):
                _carries_tag(responses, status)
        keyed = methods == {"POST"} and replay.takes_keys(path, endpoint)
        #: A key is not ignored: who sends one counts on it.
        self.refuses_keys = methods == {"POST"} and not keyed and path not in replay.IGNORE_KEYS
        if keyed:
            endpoint = replay.keyed(endpoint)
        if self.refuses_keys:
            responses = {**problems(400), **responses}
        options["responses"] = responses
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Handler:
        run = super().get_route_handler()
        rules = tuple(access_rules(self.dependant))
        self.authorization = authorization = Authorization(rules, self.lenient)
        if self.methods == {"GET"}:
            handle = _reading(run, PublicRead.of(self.endpoint))
        else:
            handle = _writing(run, self.response_model, conditional=conditions.conditional(self.endpoint))
        if self.refuses_keys:
            handle = replay.without_key(handle)

        reader, guards = Reader.of(self), guards_of(self)

        async def authorized(request: Request) -> Response:
            operation = await authorization.authorize(request)
            try:
                honour_contract(request, operation)
                if reader is not None:
                    request = whole = await reader.read(request, operation)
                    if whole.waited:
                        await authorization.confirm(whole)
                    reader.parse(whole)
                return await handle(request)
            except FAULTS as fault:
                await refuse_first(request, guards, fault)
                raise

        return authorized


class OpenRoute(Route):
    """Where bad credentials are the handler's business."""

    lenient = True


def _carries_tag(responses: dict[int | str, dict[str, Any]], status: int) -> None:
    tag = {"headers": {"ETag": {"$ref": "#/components/headers/ETag"}}}
    responses[status] = {**responses.get(status, {}), **tag}


def _tagged(endpoint: Callable[..., Awaitable[Versioned]]) -> Callable[..., Awaitable[Versioned]]:
    @wraps(endpoint)
    async def run(*, tagged: Response, **values: Any) -> Versioned:
        resource = await endpoint(**values)
        tagged.headers["ETag"] = tag_of(resource)
        return resource

    signature = inspect.signature(endpoint)
    asked = inspect.Parameter("tagged", inspect.Parameter.KEYWORD_ONLY, annotation=Response)
    given = signature.parameters.values()
    run.__signature__ = signature.replace(parameters=[*given, asked])  # type: ignore[attr-defined]
    return run


def _reading(run: Handler, public: PublicRead | None) -> Handler:
    async def handle(request: Request) -> Response:
        response = await run(request)
        if public is not None:
            public.declare(request, response)
        return conditions.answered(request, response)

    return handle


def _writing(run: Handler, model: Any, *, conditional: bool) -> Handler:
    async def once(request: Request) -> Response:
        async with AsyncExitStack() as stack:
            request.scope[STACK] = stack
            response = await run(request)
            await replay.keep(request, response, model)
        return response

    async def handle(request: Request) -> Response:
        if not conditional:
            conditions.require_absence(request)
        for longest in PAUSES:
            try:
                return await once(request)
            except Contention:
                # Nothing was done: one request is one transaction, and that was rolled back.
                metrics.transaction_retried(route_template(request.scope))
                await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - spreads rivals
        return await once(request)

    return handle
