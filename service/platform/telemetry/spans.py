"""Spans on their way to the collector, without what may be somebody's data; loaded where tracing is on."""

import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace.status import Status

from service.platform.telemetry import runtime, upstream

log = structlog.get_logger(__name__)

#: Spans that wait for the collector, those on their way included. More are dropped.
MOST_WAITING: Final = 2_048
#: Of them, as many as go in one message.
BATCH: Final = 512

#: Of the SDK's exporter: loggers that would fill the log while a collector is away.
NOISY: Final = (
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)

Asked = Callable[..., Awaitable[Any]]


class Ids(RandomIdGenerator):
    """Random, but that a trace gets the id by which it was sampled."""

    next: int = 0

    def generate_trace_id(self) -> int:
        chosen, self.next = self.next, 0
        return chosen or super().generate_trace_id()


def below(sampler: Sampler) -> int | None:
    """Where a sampler takes a share by the low half of the ids: the first of those that it does not take.

    Asking it would cost more than all else that is done for a request that is not sampled.
    """
    root = sampler._root if isinstance(sampler, ParentBased) else sampler  # noqa: SLF001 - it has no other way
    return root.bound if isinstance(root, TraceIdRatioBased) else None


class Statements(AsyncPGInstrumentor):
    """asyncpg's instrumentation, where a trace is recorded. By itself it describes each statement before
    it asks whether anybody wants to know, and begins a trace for each that belongs to none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    async def _do_execute(self, func: Asked, instance: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        if not trace.get_current_span().is_recording():
            return await func(*args, **kwargs)
        return await super()._do_execute(func, instance, args, kwargs)  # type: ignore[no-untyped-call]

    async def _do_cursor_execute(
        self, func: Asked, instance: Any, args: Any, kwargs: Mapping[str, Any]
    ) -> Any:
        if not trace.get_current_span().is_recording():
            return await func(*args, **kwargs)
        return await super()._do_cursor_execute(func, instance, args, kwargs)  # type: ignore[no-untyped-call]

    async def _do_prepared_execute(
        self, func: Asked, instance: Any, args: Any, kwargs: Mapping[str, Any]
    ) -> Any:
        if not trace.get_current_span().is_recording():
            return await func(*args, **kwargs)
        return await super()._do_prepared_execute(func, instance, args, kwargs)  # type: ignore[no-untyped-call]


class Exporter(OTLPSpanExporter):
    """A collector that is down or slow costs a counter and a few lines, never a request."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self._quiet = _Quiet()
        #: Told how many spans have left, whether the collector took them or not.
        self.gone: Callable[[int], None] = lambda _: None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        began, good = time.perf_counter(), False
        try:
            result = super().export([_discreet(span) for span in spans])
            good = result is SpanExportResult.SUCCESS
        finally:
            self.gone(len(spans))
            runtime.spans_ended(len(spans), "sent" if good else "lost")
            upstream.otlp_called(time.perf_counter() - began, good=good)
        self._tell(good=good)
        return result

    def shutdown(self) -> None:
        super().shutdown()  # type: ignore[no-untyped-call]
        self._quiet.end()

    def _tell(self, *, good: bool) -> None:
        if good and self._quiet.on:
            log.info("traces.sent_again")
        elif not good and not self._quiet.on:
            log.warning("traces.not_sent")
        self._quiet.on = not good


class _Quiet(logging.Filter):
    """The exporter says at each attempt why it failed: the first is told, until one succeeds."""

    on = False

    def __init__(self) -> None:
        super().__init__()
        for name in NOISY:
            logging.getLogger(name).addFilter(self)

    def filter(self, _: logging.LogRecord) -> bool:
        return not self.on

    def end(self) -> None:
        for name in NOISY:
            logging.getLogger(name).removeFilter(self)


class Outbox(BatchSpanProcessor):
    """The SDK's, with a bound that counts what it refuses, and that holds for what is on its way too."""

    def __init__(self, exporter: Exporter) -> None:
        self.most = _set("OTEL_BSP_MAX_QUEUE_SIZE", MOST_WAITING)
        batch = min(_set("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH), self.most)
        super().__init__(exporter, self.most, max_export_batch_size=batch)
        exporter.gone = self._gone
        self.waiting = 0
        self._lock = threading.Lock()

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        with self._lock:
            full = self.waiting >= self.most
            self.waiting += not full
        if full:
            runtime.spans_ended(1, "dropped")
        else:
            super().on_end(span)

    def _gone(self, count: int) -> None:
        with self._lock:
            self.waiting -= count


def _discreet(span: ReadableSpan) -> ReadableSpan:
    """The span without the words of exceptions: PostgreSQL quotes whole rows there. Types stay."""
    if not span.events and not span.status.description:
        return span
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _set(name: str, otherwise: int) -> int:
    """As the SDK does it: what is no number above 0 is passed over."""
    given = os.environ.get(name, "")
    return int(given) if given.isdecimal() and int(given) else otherwise
