"""The SDK as the service uses it: ids, SQL statements, export. Imported only where tracing is on."""

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

#: Spans that wait for the collector, those being sent included. More are dropped.
MAX_QUEUE_SIZE: Final = 2_048
#: Of them, how many are sent in one message.
MAX_BATCH_SIZE: Final = 512

#: Of the SDK's exporter: loggers that would fill the log while a collector is away.
NOISY: Final = (
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)

Method = Callable[..., Awaitable[Any]]


class TraceIdGenerator(RandomIdGenerator):
    """Random ids, but for a trace that was sampled by its id: it gets that one."""

    next: int = 0

    def generate_trace_id(self) -> int:
        chosen, self.next = self.next, 0
        return chosen or super().generate_trace_id()


def ratio_bound(sampler: Sampler) -> int | None:
    """The bound of a sampler that takes a share by the low half of trace ids; None for other samplers.

    To ask the sampler would cost more than all else that is done for a request that is not sampled.
    """
    root = sampler._root if isinstance(sampler, ParentBased) else sampler  # noqa: SLF001 - it has no other way
    return root.bound if isinstance(root, TraceIdRatioBased) else None


class StatementInstrumentor(AsyncPGInstrumentor):
    """asyncpg's instrumentation, inside of recorded traces only. As it comes it describes each statement
    before it asks the sampler, and begins a trace for each statement that belongs to none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    async def _do_execute(self, func: Method, instance: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        if not trace.get_current_span().is_recording():
            return await func(*args, **kwargs)
        return await super()._do_execute(func, instance, args, kwargs)  # type: ignore[no-untyped-call]

    async def _do_cursor_execute(
        self, func: Method, instance: Any, args: Any, kwargs: Mapping[str, Any]
    ) -> Any:
        if not trace.get_current_span().is_recording():
            return await func(*args, **kwargs)
        return await super()._do_cursor_execute(func, instance, args, kwargs)  # type: ignore[no-untyped-call]

    async def _do_prepared_execute(
        self, func: Method, instance: Any, args: Any, kwargs: Mapping[str, Any]
    ) -> Any:
        if not trace.get_current_span().is_recording():
            return await func(*args, **kwargs)
        return await super()._do_prepared_execute(func, instance, args, kwargs)  # type: ignore[no-untyped-call]


class SpanExporter(OTLPSpanExporter):
    """A collector that is down or slow costs a counter and a few lines, never a request."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self._repeats = _RepeatFilter()
        #: Called with the number of spans that were sent, whether the collector took them or not.
        self.on_exported: Callable[[int], None] = lambda _: None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        began, good = time.perf_counter(), False
        try:
            result = super().export([_without_messages(span) for span in spans])
            good = result is SpanExportResult.SUCCESS
        finally:
            self.on_exported(len(spans))
            runtime.spans_ended(len(spans), "sent" if good else "lost")
            upstream.count_export(time.perf_counter() - began, good=good)
        self._log_change(good=good)
        return result

    def shutdown(self) -> None:
        super().shutdown()  # type: ignore[no-untyped-call]
        self._repeats.end()

    def _log_change(self, *, good: bool) -> None:
        if good and self._repeats.on:
            log.info("traces.sent_again")
        elif not good and not self._repeats.on:
            log.warning("traces.not_sent")
        self._repeats.on = not good


class _RepeatFilter(logging.Filter):
    """The SDK's exporter logs each attempt that fails: only the first is let through, until one succeeds."""

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


class BoundedSpanProcessor(BatchSpanProcessor):
    """The SDK's processor. Its bound includes spans that are being sent; refused spans are counted."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.max_queue_size = _setting("OTEL_BSP_MAX_QUEUE_SIZE", MAX_QUEUE_SIZE)
        batch = min(_setting("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", MAX_BATCH_SIZE), self.max_queue_size)
        super().__init__(exporter, self.max_queue_size, max_export_batch_size=batch)
        exporter.on_exported = self._exported
        self.waiting = 0
        self._lock = threading.Lock()

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        with self._lock:
            full = self.waiting >= self.max_queue_size
            self.waiting += not full
        if full:
            runtime.spans_ended(1, "dropped")
        else:
            super().on_end(span)

    def _exported(self, count: int) -> None:
        with self._lock:
            self.waiting -= count


def _without_messages(span: ReadableSpan) -> ReadableSpan:
    """The span without messages of exceptions: PostgreSQL quotes whole rows there. Types stay."""
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


def _setting(name: str, default: int) -> int:
    """Like the SDK: a value that is no number above 0 is ignored."""
    given = os.environ.get(name, "")
    return int(given) if given.isdecimal() and int(given) else default
