"""Browsers of other origins: those that CORS_ORIGINS names, and no others."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from service.edge.problems import response


class Cors(CORSMiddleware):
    """Starlette's, but that a refused preflight is a problem like any other refusal."""

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
        await super().__call__(scope, receive, send)
