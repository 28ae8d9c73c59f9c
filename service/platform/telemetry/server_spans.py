"""The spans of requests, made by opentelemetry-instrumentation-fastapi; loaded where tracing is on.

The instrumentation takes its time for a request that is not sampled too. So the decision comes first:
a request that is sampled, or that continues a trace, passes the instrumentation; all others go around it,
into the same application.
"""

from collections.abc import Awaitable, Callable, Collection
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import propagate, trace
from opentelemetry.instrumentation.asgi import asgi_getter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.platform.telemetry import sampled_trace
from service.platform.telemetry.request_facts import METHODS
from service.platform.telemetry.tracing import REDACTED, SERVER_SPAN

if TYPE_CHECKING:
    from service.platform.telemetry.tracing import Tracing

Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

#: Headers of W3C Trace Context.
PROPAGATED: Final = (b"traceparent", b"tracestate")
#: The instrumentation would look for the route here, before routing, and misses that of HEAD and of a
#: trailing slash. `tracing.describe` sets it once the request has been routed.
NO_ROUTES: Final = SimpleNamespace(routes=())
#: Where the request's scope stands in the one that the instrumentation reads.
ORIGINAL: Final = "original"


class ServerSpans:
    """The application's middleware stack where tracing is on: instrumented, and as it is."""

    def __init__(self, app: Any, tracing: "Tracing", untraced: Collection[str]) -> None:
        self._tracing, self._untraced = tracing, untraced
        propagate.set_global_textmap(TraceContextTextMapPropagator())
        self._plain: Application = app.build_middleware_stack()
        # What is instrumented is the same stack: its counters and its cache must not exist twice.
        app.build_middleware_stack = lambda: self._plain
        FastAPIInstrumentor.instrument_app(
            app,
            tracer_provider=tracing.provider,
            server_request_hook=_restore,
            excluded_urls="",
            exclude_spans=["receive", "send"],
        )
        self._instrumented: Application = app.build_middleware_stack()
        app.middleware_stack = self

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and self._is_traced(scope):
            with sampled_trace.span_noted():
                await self._instrumented(_withheld(scope), receive, send)
        else:
            await self._plain(scope, receive, send)

    def _is_traced(self, scope: Scope) -> bool:
        if scope["path"].removesuffix("/") in self._untraced:
            return False
        for name, _ in scope["headers"]:
            if name == b"traceparent" and _continues(scope):
                return True
        return self._tracing.begins(scope["method"])


def _continues(scope: Scope) -> bool:
    parent = propagate.extract({"headers": _propagated(scope)}, getter=asgi_getter)
    return trace.get_current_span(parent).get_span_context().is_valid


def _propagated(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The instrumentation fails on bytes that are not text."""
    return [header for header in scope["headers"] if header[0] in PROPAGATED and header[1].isascii()]


def _withheld(scope: Scope) -> Scope:
    """The scope that the instrumentation reads: nothing that a client has written, but for its trace."""
    return {
        "type": "http",
        "app": NO_ROUTES,
        "server": scope.get("server"),
        "method": scope["method"] if scope["method"] in METHODS else "_OTHER",
        "path": REDACTED,
        "query_string": REDACTED if scope.get("query_string") else b"",
        "headers": _propagated(scope),
        ORIGINAL: scope,
    }


def _restore(span: trace.Span, scope: Scope) -> None:
    """Called by the instrumentation when it has read the scope: the application gets the request's own."""
    scope.update(scope.pop(ORIGINAL), **{SERVER_SPAN: span})
    sampled_trace.note(span)
