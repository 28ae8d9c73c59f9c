"""Tracing by OpenTelemetry, to the standard OTEL_* settings. Where it is off, the SDK is not imported."""

import asyncio
import os
import random
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry import context, trace

from service.platform.telemetry import sampled_trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from service.platform.telemetry.tracing_sdk import TraceIdGenerator

REDACTED: Final = "REDACTED"
#: A collector that hangs must not delay the end of the process by more than this,
FLUSH_SECONDS: Final = 3.0
#: nor by more than this share of the time that the shutdown may take.
SHARE_TO_FLUSH: Final = 0.1
#: Of a trace's id: samplers take a share by it.
LOW_HALF: Final = (1 << 64) - 1
#: Where the scope of a request that is traced has its span.
SERVER_SPAN: Final = "tradepost.server_span"

#: Of this process, where tracing is on.
_tracer: trace.Tracer | None = None


def traceparent() -> str | None:
    """The current span in the form of W3C Trace Context, for a webhook's receiver or a later job.

    None where tracing is off. Where it is on and there is no span, the flag says "not sampled": the job is
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


@dataclass(frozen=True)
class Tracing:
    """What `install` has set up for this process."""

    provider: "TracerProvider"
    _ids: "TraceIdGenerator"
    #: A new trace is sampled if the low half of its id is below it. None: the sampler decides in another way.
    _below: int | None
    _undo: list[Callable[[], None]]

    def instrument(self, app: Any, untraced: Collection[str]) -> None:
        """Trace requests to a FastAPI application, but for those to the paths in `untraced`."""
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        from service.platform.telemetry.server_spans import ServerSpans

        ServerSpans(app, self, untraced)
        self._undo.append(partial(FastAPIInstrumentor.uninstrument_app, app))

    def begins(self, method: str) -> bool:
        """Whether a trace begins with this request. The span that is made next in this task has its id."""
        trace_id = self._ids.generate_trace_id()
        if not self._samples(trace_id, method):
            return False
        self._ids.next = trace_id
        return True

    def _samples(self, trace_id: int, method: str) -> bool:
        if self._below is not None:
            return trace_id & LOW_HALF < self._below
        sampled = self.provider.sampler.should_sample(_EMPTY, trace_id, method, trace.SpanKind.SERVER)
        return bool(sampled.decision.is_sampled())  # type: ignore[no-untyped-call]

    def shutdown(self, patience: float) -> None:
        """Send the last spans, at the end of a shutdown that may take `patience` seconds."""
        global _tracer  # noqa: PLW0603
        _tracer = None
        for undo in self._undo:
            undo()
        flush(self.provider.shutdown, patience)


def flush(shutdown: Callable[[], None], patience: float) -> None:
    """Have what waits sent, and return when it is or when the time is over. A collector may hang."""
    flushing = threading.Thread(target=shutdown, daemon=True)
    flushing.start()
    flushing.join(min(FLUSH_SECONDS, patience * SHARE_TO_FLUSH))


class Export(Protocol):
    def shutdown(self, patience: float) -> None: ...


async def end_exports(exports: Iterable[Export | None], patience: float) -> None:
    """At the same time: where all collectors hang, all together take no longer than one."""
    ending = (asyncio.to_thread(each.shutdown, patience) for each in exports if each is not None)
    await asyncio.gather(*ending)


_EMPTY: Final = context.Context()


def load_sdk() -> None:
    """Import what `install` needs. Processes that are forked later share it: 11 MB."""
    from service.platform.telemetry import server_spans, tracing_sdk  # noqa: F401

    # An exporter imports its HTTP client when it is made.
    tracing_sdk.SpanExporter("http://127.0.0.1").shutdown()


def install(*, endpoint: str, service_name: str, service_version: str) -> Tracing:
    """Trace requests or jobs, and their SQL (statements without values)."""
    global _tracer  # noqa: PLW0603 - one for the process
    # The instrumentation reads it once. Without it, it uses attribute names that are deprecated.
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    from service.platform.telemetry.tracing_sdk import (
        BoundedSpanProcessor,
        SpanExporter,
        StatementInstrumentor,
        TraceIdGenerator,
        ratio_bound,
    )

    ids = TraceIdGenerator()
    # Not the global provider: a library that looks for one would trace everything a second time.
    provider = TracerProvider(
        resource=Resource.create({"service.name": service_name, "service.version": service_version}),
        id_generator=ids,
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BoundedSpanProcessor(SpanExporter(endpoint=endpoint)))
    statements = StatementInstrumentor()
    statements.instrument(tracer_provider=provider)
    _tracer = provider.get_tracer(__name__)
    return Tracing(provider, ids, ratio_bound(provider.sampler), [statements.uninstrument])


def of(endpoint: str | None, service_name: str, service_version: str) -> Tracing | None:
    """`install`, or None where tracing is off."""
    if endpoint is None:
        return None
    return install(endpoint=endpoint, service_name=service_name, service_version=service_version)


@contextmanager
def job_span(name: str, origin: str | None) -> Iterator[None]:
    """A span of a job that continues the trace of `origin`, a traceparent; none where tracing is off."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({"traceparent": origin} if origin else {})
    with (
        _tracer.start_as_current_span(name, parent, trace.SpanKind.CONSUMER) as span,
        sampled_trace.span_noted(span),
    ):
        yield


def describe(span: Any, route: str | None, scheme: str) -> None:
    """Name a request's span by its route. A path may hold personal data, or a secret in the wrong place."""
    if not span.is_recording():
        return
    span.set_attribute("url.scheme", scheme)
    if route is not None:
        span.update_name(f"{span.name} {route}")
        span.set_attributes({"http.route": route, "url.path": route})


@contextmanager
def client_span(name: str) -> Iterator[None]:
    """A span of a call to another service, without its address; none outside of a sampled trace."""
    if _tracer is None or not trace.get_current_span().is_recording():
        yield
        return
    with _tracer.start_as_current_span(name, kind=trace.SpanKind.CLIENT):
        yield


def set_status(status: int | None) -> None:
    """Set the status of a call's response on the current span; None: there was no response."""
    span = trace.get_current_span()
    if span.is_recording() and status is not None:
        span.set_attribute("http.response.status_code", status)


def log_fields() -> dict[str, Any]:
    """The ids of the current trace and span, for a line in the log."""
    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(found.trace_id),
        "span_id": trace.format_span_id(found.span_id),
    }
