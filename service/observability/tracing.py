"""OpenTelemetry, to the standard OTEL_* settings. Not configured, it costs nothing: not even the SDK's
import.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

REDACTED: Final = "REDACTED"
#: Probes; and streams, whose span would last for minutes and say nothing.
UNTRACED: Final = "livez,readyz,startupz,health,notifications/stream/?$"
#: A collector that hangs must not hold up the end of the process for longer.
FLUSH_SECONDS: Final = 3.0

#: Of a worker: its spans have no instrumentation that would know it.
_tracer: trace.Tracer | None = None


def routed(method: str, template: str) -> None:
    """Give the request's span its route; the instrumentation's own guess knows neither HEAD nor slashes."""
    span = trace.get_current_span()
    if span.is_recording():
        span.update_name(f"{method} {template}")
        span.set_attribute("http.route", template)
        span.set_attribute("url.path", template)


def traceparent() -> str | None:
    """The span that runs, as W3C writes it, for those who go on elsewhere or later; None without one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    ids = trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)
    return f"00-{ids[0]}-{ids[1]}-{context.trace_flags:02x}"


@dataclass(frozen=True)
class Tracing:
    """What `install` has set up."""

    provider: "TracerProvider"
    _uninstrument: Any

    def shutdown(self) -> None:
        """Send what is left, for FLUSH_SECONDS at most."""
        self._uninstrument()
        flushing = threading.Thread(target=self.provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)


def install(app: Any, *, endpoint: str, service_name: str, service_version: str) -> Tracing:
    """Trace the application's requests and SQL (statements without values)."""
    provider, uninstrument = _provider(endpoint, service_name, service_version)
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        excluded_urls=UNTRACED,
        exclude_spans=["receive", "send"],
        server_request_hook=_hide_address,
    )
    return Tracing(provider, uninstrument)


def install_worker(*, endpoint: str, service_name: str, service_version: str) -> Tracing:
    """Trace jobs and their SQL, as part of the traces that they come from."""
    global _tracer  # noqa: PLW0603 - one for the process, as the API's is one for the application
    provider, uninstrument = _provider(endpoint, service_name, service_version)
    _tracer = provider.get_tracer(__name__)
    return Tracing(provider, uninstrument)


@contextmanager
def work(name: str, origin: str | None) -> Iterator[None]:
    """A span of what goes on with the trace of `origin`, a traceparent; nothing where tracing is off."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({"traceparent": origin} if origin else {})
    with _tracer.start_as_current_span(name, parent, trace.SpanKind.CONSUMER):
        yield


@contextmanager
def call(name: str) -> Iterator[None]:
    """A span of a call to somebody else, without an address; nothing where tracing is off."""
    if _tracer is None:
        yield
        return
    with _tracer.start_as_current_span(name, kind=trace.SpanKind.CLIENT):
        yield


def answered(status: int | None) -> None:
    """Note what a call was answered; None where it was not."""
    span = trace.get_current_span()
    if span.is_recording() and status is not None:
        span.set_attribute("http.response.status_code", status)


def _provider(
    endpoint: str, service_name: str, service_version: str
) -> tuple["TracerProvider", Callable[[], None]]:
    # The instrumentations read it once; without it they use names that OpenTelemetry has given up.
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from service.observability.spans import Exporter

    # It is not made the global provider: FastAPI's own telemetry would wake up and trace everything twice.
    provider = TracerProvider(
        resource=Resource.create({"service.name": service_name, "service.version": service_version}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(Exporter(endpoint=endpoint)))
    statements = AsyncPGInstrumentor()  # type: ignore[no-untyped-call]
    statements.instrument(tracer_provider=provider)
    return provider, statements.uninstrument


def _hide_address(span: trace.Span, scope: dict[str, Any]) -> None:
    """What people ask for may be their own, or a secret in the wrong place; the access log has none of it."""
    if span.is_recording():
        span.set_attribute("url.path", REDACTED)
        if scope.get("query_string"):
            span.set_attribute("url.query", REDACTED)
