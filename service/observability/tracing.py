"""OpenTelemetry, to the standard OTEL_* settings. Not configured, it costs nothing: not even the SDK's
import.
"""

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

REDACTED: Final = "REDACTED"
UNTRACED: Final = "livez,readyz,startupz,health"
#: A collector that hangs must not hold up the end of the process for longer.
FLUSH_SECONDS: Final = 3.0


def routed(method: str, template: str) -> None:
    """Give the request's span its route; the instrumentation's own guess knows neither HEAD nor slashes."""
    span = trace.get_current_span()
    if span.is_recording():
        span.update_name(f"{method} {template}")
        span.set_attribute("http.route", template)
        span.set_attribute("url.path", template)


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
    # The instrumentations read it once; without it they use names that OpenTelemetry has given up.
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
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
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        excluded_urls=UNTRACED,
        exclude_spans=["receive", "send"],
        server_request_hook=_hide_address,
    )
    statements = AsyncPGInstrumentor()  # type: ignore[no-untyped-call]
    statements.instrument(tracer_provider=provider)
    return Tracing(provider, statements.uninstrument)


def _hide_address(span: trace.Span, scope: dict[str, Any]) -> None:
    """What people ask for may be their own, or a secret in the wrong place; the access log has none of it."""
    if span.is_recording():
        span.set_attribute("url.path", REDACTED)
        if scope.get("query_string"):
            span.set_attribute("url.query", REDACTED)
