"""Sends spans to the collector, without what may be somebody's data. Imported only where tracing is on."""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import Status

from service.observability import metrics


class Exporter(OTLPSpanExporter):
    """A collector that is down or slow costs a counter, never a request."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        worth = [_discreet(span) for span in spans if not _of_nobody(span)]
        if not worth:
            return SpanExportResult.SUCCESS
        result = super().export(worth)
        metrics.spans_exported(len(worth), sent=result is SpanExportResult.SUCCESS)
        return result


def _of_nobody(span: ReadableSpan) -> bool:
    """A statement outside any trace: a probe's, or the connection pool's own."""
    return span.kind is SpanKind.CLIENT and span.parent is None


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
