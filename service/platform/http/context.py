"""What surrounds every request: its id, client, security headers, line in the access log and metrics; and the
500 for what fails.

Pure ASGI, as all middleware here: Starlette's BaseHTTPMiddleware runs the application in another
task, which loses context variables and leaks connections when a client leaves.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.platform.http import metrics
from service.platform.http.addresses import Hosts, Proxies
from service.platform.http.problems import PROBES, response
from service.platform.http.request_state import UNMATCHED, Refusal, log_fields, route_template, state_of
from service.platform.telemetry import access_log, request_facts, tracing
from service.platform.telemetry.request_facts import METHODS, RequestFacts

log = structlog.get_logger(__name__)

Headers = list[tuple[bytes, bytes]]

LISTS: Final = frozenset(
    {
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"accept-language",
        b"access-control-request-headers",
        b"cache-control",
        b"connection",
        b"content-encoding",
        b"expect",
        b"if-match",
        b"if-none-match",
        b"tracestate",
        b"transfer-encoding",
        b"x-forwarded-for",
        b"x-forwarded-proto",
    }
)
SINGLE: Final = frozenset(
    {
        b"access-control-request-method",
        b"authorization",
        b"content-length",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"if-modified-since",
        b"if-unmodified-since",
        b"last-event-id",
        b"origin",
    }
)
DESCRIPTIVE: Final = frozenset({b"traceparent", b"user-agent", b"x-request-id"})
WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9_-]{8,128}")
#: Statuses of requests for a change that was refused.
REFUSED: Final = frozenset({403, 409, 422})
#: On every response.
ALWAYS: Final = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
#: On every response that does not set them: it may hold personal data or a token.
DEFAULTS: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    (b"cache-control", b"private, no-store"),
)


class RequestContext:
    """`count_refusal` gets the route and the problem's code of each change that was refused."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        proxies: Proxies,
        hosts: Hosts,
        count_refusal: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self.app, self.proxies, self.hosts = app, proxies, hosts
        self.count_refusal = count_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        inner = _normalised(scope)
        state = state_of(inner)
        address, hsts = self._client(inner)
        request_facts.begin(RequestFacts(state.request_id, state.own_id, address))
        started, status, sent = time.perf_counter(), 500, 0
        counted = inner["path"] not in PROBES
        span = scope.get(tracing.SERVER_SPAN)

        async def send_with_headers(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(state.response_headers)
                complete(headers, status, state.request_id)
                headers.raw.extend(hsts)
                if span is not None:
                    template = route_template(inner)
                    tracing.describe(span, None if template == UNMATCHED else template, inner["scheme"])
            elif scope["method"] == "HEAD":
                message = {**message, "body": b""}
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(inner, receive, send_with_headers)
        finally:
            if counted:
                seconds = time.perf_counter() - started
                method = scope["method"]
                _account(inner, method, status, seconds, sent=sent, client=address, traced=span is not None)
                if status in REFUSED and method != "GET":
                    self.count_refusal(route_template(inner), state.problem_code or "other")

    def _client(self, inner: Scope) -> tuple[str | None, Iterable[tuple[bytes, bytes]]]:
        """The client's address, and the header of HSTS; notes a refusal where the host is not one of ours."""
        peer = inner["client"][0] if inner.get("client") else None
        address, scheme = self.proxies.client(peer, inner["headers"])
        if scheme is not None:
            inner["scheme"] = scheme
        self.hosts.check(inner)
        return address, self.hosts.hsts(inner["scheme"], forwarded=scheme is not None)


class ErrorMiddleware:
    """An unexpected exception is a 500 without details, and a log line with its traceback.

    A request that the server or the outermost middleware has refused is answered here, within CORS.
    """

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


def _normalised(scope: Scope) -> Scope:
    """The scope as the application sees it; the server's own stays as it is, for it answers HEAD by it.

    One trailing slash is dropped, so that both forms answer directly; HEAD is a GET whose body is
    left out on the way back (RFC 9110, section 9.3.2); each header comes once.
    """
    own_id = new_request_id()
    headers, refusal = combined(scope["headers"])
    # The server may have refused the request already.
    state = state_of(scope)
    state.request_id, state.own_id = given_id(headers) or own_id, own_id
    state.refusal, state.is_head = state.refusal or refusal, scope["method"] == "HEAD"
    inner = {**scope, "headers": headers}
    path = scope["path"]
    if len(path) > 1 and path.endswith("/"):
        inner["path"] = path[:-1]
        inner["raw_path"] = scope.get("raw_path", b"").removesuffix(b"/")
    if scope["method"] == "HEAD":
        inner["method"] = "GET"
    return inner


def new_request_id() -> str:
    return secrets.token_hex(16)


def given_id(headers: Headers) -> str | None:
    for name, value in headers:
        if name == b"x-request-id" and WELL_FORMED.fullmatch(value):
            return bytes(value).decode()
    return None


def complete(headers: MutableHeaders, status: int, request_id: str) -> None:
    """Add what stands on every response."""
    if status == 204:
        del headers["Content-Type"]  # responses that older releases have stored may have one
    # Past the mapping, which would go through all that is there once for each.
    present = {name for name, _ in headers.raw}
    headers.raw.append((b"x-request-id", request_id.encode()))
    headers.raw.extend(ALWAYS)
    headers.raw.extend(header for header in DEFAULTS if header[0] not in present)


def _account(
    inner: Scope,
    method: str,
    status: int,
    seconds: float,
    *,
    sent: int,
    client: str | None,
    traced: bool,
) -> None:
    template, state = route_template(inner), state_of(inner)
    known = method if method in METHODS else "OTHER"
    metrics.REQUESTS.inc(known, template, str(status))
    if state.received_bytes:
        metrics.RECEIVED.observe(state.received_bytes, template)
    if not state.streamed:
        # A stream lasts as long as its client likes, which says nothing of how quick the service is.
        metrics.DURATION.observe(seconds, known, template)
        metrics.SENT.observe(sent, template)
    access_log.write(method, template, status, seconds, who=log_fields(inner), client=client, traced=traced)


def combined(headers: Headers) -> tuple[Headers, Refusal | None]:
    """The headers, each of those that are read here once; and why the request is refused, if it is.

    Header lines may come more than once (RFC 9110, section 5.3). Those of a list are joined. Of the others
    one line is right, and the request does not say which: a header that decides about the request is
    refused, one that only describes it is left out.
    """
    names = [name for name, _ in headers]
    if len(set(names)) == len(names):
        return headers, None
    lines: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        lines.setdefault(name, []).append(value)
    twice = {name for name, values in lines.items() if len(values) > 1}
    refused = sorted(twice & SINGLE)
    if refused:
        detail = f"The header {refused[0].decode().title()} came more than once. Send it once."
        return headers, Refusal(400, detail, "repeated_header")
    joined = [(name, b", ".join(lines[name])) for name in lines if name in twice & LISTS]
    return [each for each in headers if each[0] not in twice & (LISTS | DESCRIPTIVE)] + joined, None
