"""A collector of traces, logs and metrics: OTLP over HTTP, in a thread of the test."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """Takes spans, lines and metrics at their usual paths, with `status`, once `open` is set."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.requests: list[ExportTraceServiceRequest] = []
        self.log_requests: list[ExportLogsServiceRequest] = []
        self.metric_requests: list[ExportMetricsServiceRequest] = []
        taken: dict[str, tuple[Any, list[Any]]] = {
            "/v1/traces": (ExportTraceServiceRequest, self.requests),
            "/v1/logs": (ExportLogsServiceRequest, self.log_requests),
            "/v1/metrics": (ExportMetricsServiceRequest, self.metric_requests),
        }
        self.open, self.called = threading.Event(), threading.Event()
        self.open.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                kind, requests = taken[self.path.partition("?")[0]]
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    return  # the connection broke
                packed = self.headers.get("Content-Encoding") == "gzip"
                collector.called.set()
                collector.open.wait()
                requests.append(kind.FromString(gzip.decompress(body) if packed else body))
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Not to standard error."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.open.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def spans(self, kind: "Span.SpanKind.ValueType") -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if span.kind == kind
        ]

    @property
    def served(self) -> list[Span]:
        return self.spans(Span.SPAN_KIND_SERVER)

    @property
    def consumed(self) -> list[Span]:
        return self.spans(Span.SPAN_KIND_CONSUMER)

    @property
    def statements(self) -> list[Span]:
        return self.spans(Span.SPAN_KIND_CLIENT)

    @property
    def lines(self) -> list[LogRecord]:
        return [
            record
            for request in self.log_requests
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def metrics(self) -> dict[str, Metric]:
        """Of the last message."""
        [resource] = self.metric_requests[-1].resource_metrics
        return {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
