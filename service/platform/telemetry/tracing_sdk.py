"""The SDK as the service uses it: ids, SQL statements, export. Imported only where tracing is on."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace.status import Status

from service.platform.telemetry import runtime
from service.platform.telemetry.otlp_delivery import Delivery, Places, setting

#: Spans that wait for the collector, those being sent included. More are dropped.
MAX_QUEUE_SIZE: Final = 2_048
#: Of them, how many are sent in one message.
MAX_BATCH_SIZE: Final = 512

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
    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.delivery = Delivery("traces", runtime.spans_ended)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        began, result = time.perf_counter(), SpanExportResult.FAILURE
        try:
            result = super().export([_without_messages(span) for span in spans])
        finally:
            self.delivery.ended(len(spans), began, good=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        super().shutdown()  # type: ignore[no-untyped-call]
        self.delivery.shutdown()


class BoundedSpanProcessor(BatchSpanProcessor):
    """The SDK's processor. Its bound includes spans that are being sent; refused spans are counted."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.max_queue_size = setting("OTEL_BSP_MAX_QUEUE_SIZE", MAX_QUEUE_SIZE)
        batch = min(setting("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", MAX_BATCH_SIZE), self.max_queue_size)
        super().__init__(exporter, self.max_queue_size, max_export_batch_size=batch)
        self._places = Places(self.max_queue_size)
        exporter.delivery.on_exported = self._places.give_back

    @property
    def waiting(self) -> int:
        return self._places.taken

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if self._places.take():
            super().on_end(span)
        else:
            runtime.spans_ended(1, "dropped")


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
