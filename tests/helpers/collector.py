"""A collector of traces: OTLP over HTTP, in a thread of the test."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """Takes spans at /v1/traces, with `status`, once `open` is set."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.requests: list[ExportTraceServiceRequest] = []
        self.open, self.called = threading.Event(), threading.Event()
        self.open.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path.partition("?")[0] == "/v1/traces"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                packed = self.headers.get("Content-Encoding") == "gzip"
                collector.called.set()
                collector.open.wait()
                request = ExportTraceServiceRequest.FromString(gzip.decompress(body) if packed else body)
                collector.requests.append(request)
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
