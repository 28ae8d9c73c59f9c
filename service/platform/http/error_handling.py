"""Error handling: an unexpected exception is a 500 without details, and a log line with its traceback.

A request that the server or the outermost middleware has refused is answered here, within CORS.
"""

import asyncio

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.platform.http.context import log_fields, route_template
from service.platform.http.problems import response
from service.platform.http.request_state import state_of

log = structlog.get_logger(__name__)


class ErrorMiddleware:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = state_of(scope).refusal
        if refusal is not None:
            # What the client is still sending is not read.
            headers = {"Connection": "close"}
            answer = response(
                scope, refusal.status, code=refusal.code, detail=refusal.detail, headers=headers
            )
            await answer(scope, receive, send)
            return
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched_send)
        except asyncio.CancelledError:
            # The graceful timeout is over: the client can try again with another process.
            log.warning("request.cut_short")
            if started:
                raise
            headers = {"Retry-After": "1", "Connection": "close"}
            answer = response(scope, 503, detail="The service is shutting down. Try again.", headers=headers)
            await answer(scope, receive, send)
        except Exception:
            method, route = scope.get("method"), route_template(scope)
            log.exception("request.failed", method=method, route=route, status=500, **log_fields(scope))
            if started:
                raise
            await response(scope, 500)(scope, receive, send)
