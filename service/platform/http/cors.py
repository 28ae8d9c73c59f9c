"""Browsers of other origins: those that CORS_ORIGINS names, and no others."""

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from service.platform.http.problems import response

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
ACCEPTED: Final = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "X-Request-ID",
    "traceparent",
)
EXPOSED: Final = (
    "Accept-Patch",
    "ETag",
    "Idempotent-Replayed",
    "Link",
    "Location",
    "Next-Updated-Since",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Search-Results",
    "WWW-Authenticate",
    "X-Request-ID",
)


class Cors(CORSMiddleware):
    """Starlette's, but that a refused preflight is a problem like any other refusal."""

    def __init__(self, app: ASGIApp, *, origins: Sequence[str], credentials: bool) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_credentials=credentials,
            allow_methods=METHODS,
            allow_headers=ACCEPTED,
            expose_headers=EXPOSED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            if "origin" in headers and "access-control-request-method" in headers:
                answer = self.preflight_response(headers)
                if answer.status_code >= 400:
                    vary = {"Vary": answer.headers["Vary"]}
                    detail = bytes(answer.body).decode() + "."
                    answer = response(scope, 400, code="cors_refused", detail=detail, headers=vary)
                await answer(scope, receive, send)
                return
        if not self.allow_origins:
            # Answers are the same for all of them: there is nothing to say, and no Vary.
            await self.app(scope, receive, send)
            return
        await super().__call__(scope, receive, send)
