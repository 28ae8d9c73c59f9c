"""OpenTelemetry, to the standard OTEL_* settings. Not configured, it costs nothing: not even the SDK's
import.

A request's span is made here, and not by an instrumentation of the framework: whether a request is
sampled is decided before anything is made for it, so that those that are not cost next to nothing.
"""

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Token
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context, trace

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

    from service.platform.telemetry.spans import Ids

REDACTED: Final = "REDACTED"
#: A collector that hangs must not hold up the end of the process for longer,
FLUSH_SECONDS: Final = 3.0
#: nor for more than this share of the time that the whole end may take.
SHARE_TO_FLUSH: Final = 0.1
#: Of requests (W3C Trace Context).
PROPAGATED: Final = (b"traceparent", b"tracestate")
#: Of a trace's id: by it shares are sampled.
LOW_HALF: Final = (1 << 64) - 1
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

#: Of this process, where tracing is on.
_tracer: trace.Tracer | None = None


def traceparent() -> str | None:
    """The span that runs, as W3C writes it, for those who go on elsewhere or later.

    None where tracing is off. Where it is on and this is not sampled, it says so: what goes on later is
    not sampled either, instead of being a trace without a beginning.
    """
    found = trace.get_current_span().get_span_context()
    if found.is_valid:
        return _written(found.trace_id, found.span_id, found.trace_flags)
    if _tracer is None:
        return None
    return _written(random.getrandbits(128) or 1, random.getrandbits(64) or 1, 0)


def _written(trace_id: int, span_id: int, flags: int) -> str:
    return f"00-{trace.format_trace_id(trace_id)}-{trace.format_span_id(span_id)}-{flags:02x}"


class ServerSpan:
    """A request that is traced, from when it came until `end`."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: trace.Span, token: "Token[Context]") -> None:
        self._span, self._token = span, token

    def end(self, method: str, route: str | None, status: int, *, scheme: str, has_query: bool) -> None:
        """What people ask for may be their own, or a secret in the wrong place: only the template is told."""
        context.detach(self._token)
        if not self._span.is_recording():
            return
        known = method if method in METHODS else "_OTHER"
        attributes: dict[str, str | int] = {
            "http.request.method": known,
            "http.response.status_code": status,
            "url.path": route or REDACTED,
            "url.scheme": scheme,
        }
        if route is not None:
            attributes["http.route"] = route
        if has_query:
            attributes["url.query"] = REDACTED
        name = "HTTP" if known == "_OTHER" else known
        self._span.update_name(f"{name} {route}" if route else name)
        if status >= 500:
            attributes["error.type"] = str(status)
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.set_attributes(attributes)
        self._span.end()


@dataclass(frozen=True)
class Tracing:
    """What `install` has set up."""

    provider: "TracerProvider"
    _ids: "Ids"
    #: Of what begins here, those whose id is below it are sampled; None where that is not how it is decided.
    _below: int | None
    _tracer: trace.Tracer
    _uninstrument: Callable[[], None]

    def begin(self, method: str, headers: list[tuple[bytes, bytes]]) -> ServerSpan | None:
        """The span of a request, or None for one that is not sampled and that no trace is known of."""
        for name, _ in headers:
            if name == b"traceparent":
                return self._go_on(method, headers)
        trace_id = self._ids.generate_trace_id()
        if not self._samples(trace_id, method):
            return None
        self._ids.next = trace_id
        return self._begun(method, _EMPTY)

    def _samples(self, trace_id: int, method: str) -> bool:
        if self._below is not None:
            return trace_id & LOW_HALF < self._below
        sampled = self.provider.sampler.should_sample(_EMPTY, trace_id, method, trace.SpanKind.SERVER)
        return bool(sampled.decision.is_sampled())  # type: ignore[no-untyped-call]

    def _go_on(self, method: str, headers: list[tuple[bytes, bytes]]) -> ServerSpan:
        """A part of somebody's trace. Not sampled, its lines in the log still have that trace's id."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {name.decode(): value.decode("latin-1") for name, value in headers if name in PROPAGATED}
        return self._begun(method, TraceContextTextMapPropagator().extract(carrier, _EMPTY))

    def _begun(self, method: str, parent: "Context") -> ServerSpan:
        span = self._tracer.start_span(method, parent, trace.SpanKind.SERVER)
        return ServerSpan(span, context.attach(trace.set_span_in_context(span, parent)))

    def shutdown(self, patience: float) -> None:
        """Send what is left, at the end of an end that may take `patience` seconds."""
        global _tracer  # noqa: PLW0603
        _tracer = None
        self._uninstrument()
        flushing = threading.Thread(target=self.provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(min(FLUSH_SECONDS, patience * SHARE_TO_FLUSH))


_EMPTY: Final = context.Context()


def install(*, endpoint: str, service_name: str, service_version: str) -> Tracing:
    """Trace requests or jobs, and their SQL (statements without values)."""
    global _tracer  # noqa: PLW0603 - one for the process
    # The instrumentation reads it once; without it it uses names that OpenTelemetry has given up.
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    from service.platform.telemetry.spans import Exporter, Ids, Outbox, Statements, below

    ids = Ids()
    # It is not made the global provider: whatever looks for one would trace everything twice.
    provider = TracerProvider(
        resource=Resource.create({"service.name": service_name, "service.version": service_version}),
        id_generator=ids,
        shutdown_on_exit=False,
    )
    provider.add_span_processor(Outbox(Exporter(endpoint=endpoint)))
    statements = Statements()
    statements.instrument(tracer_provider=provider)
    _tracer = provider.get_tracer(__name__)
    return Tracing(provider, ids, below(provider.sampler), _tracer, statements.uninstrument)


def of(endpoint: str | None, service_name: str, service_version: str) -> Tracing | None:
    """`install`, or None where tracing is off."""
    if endpoint is None:
        return None
    return install(endpoint=endpoint, service_name=service_name, service_version=service_version)


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
    """A span of a call to somebody else, without an address; nothing outside of what is sampled."""
    if _tracer is None or not trace.get_current_span().is_recording():
        yield
        return
    with _tracer.start_as_current_span(name, kind=trace.SpanKind.CLIENT):
        yield


def answered(status: int | None) -> None:
    """Note what a call was answered; None where it was not."""
    span = trace.get_current_span()
    if span.is_recording() and status is not None:
        span.set_attribute("http.response.status_code", status)


def ids() -> dict[str, Any]:
    """What a line in the log says of the trace that it is part of."""
    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(found.trace_id),
        "span_id": trace.format_span_id(found.span_id),
    }
