"""Log lines as a collector gets them: with the fields that they have on stdout."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from service.platform.config import Settings
from service.platform.telemetry import tracing
from tests.helpers.application import app_of
from tests.helpers.client import Api
from tests.helpers.collector import Collector
from tests.helpers.factories import Make
from tests.helpers.waiting import eventually
from tests.platform.telemetry.counted import counted
from tests.platform.telemetry.test_tracing import TRACE, TRACEPARENT

LOGS = "log_records_exported_total"
#: A process that writes lines of every kind, and nothing else.
PROCESS = """
import logging as standard, sys
import structlog
from opentelemetry import trace
from service.platform.telemetry import access_log, logging, request_facts
from service.platform.telemetry.request_facts import RequestFacts
logging.configure("DEBUG", "json")
export = logging.export_to(sys.argv[1], "tradepost", "1")
log = structlog.get_logger("service.orders")
log.info("order.placed", order_id=1, tags=["a", 2], when=None, fault=ValueError("x"))
standard.getLogger("gunicorn.error").warning("Booting worker %s", 7)
request_facts.begin(RequestFacts("request-0815", "request-0815", None))
context = trace.SpanContext(int("0af7651916cd43dd8448eb211c80319c", 16), 3, False, trace.TraceFlags(1))
with trace.use_span(trace.NonRecordingSpan(context)):
    log.debug("inside.of_a_trace")
    access_log.write("GET", "/x/{id}", 200, 0.0012345, who={"user_id": None, "key_id": 3}, client="::1")
    try:
        raise ValueError("first line\\nsecond line with what PostgreSQL has quoted")
    except ValueError:
        log.exception("it.failed")
log.critical("it.ended")
export.shutdown(60)
standard.getLogger("service.orders").info("not sent any more")
"""


def plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)


def as_line(record: LogRecord) -> dict[str, Any]:
    """What stands on stdout, but for the time."""
    line = {"level": record.severity_text, "event": plain(record.body)}
    line |= {pair.key: plain(pair.value) for pair in record.attributes}
    if record.trace_id:
        line |= {"trace_id": record.trace_id.hex(), "span_id": record.span_id.hex()}
    return line


@asynccontextmanager
async def exporting(settings: Settings, collector: Collector) -> AsyncIterator[FastAPI]:
    """The application, sending lines and traces; once it is left, all has been sent."""
    given = {"otel_exporter_otlp_endpoint": collector.url, "otel_logs_exporter": "otlp"}
    application = app_of(settings.model_copy(update=given))
    async with application.router.lifespan_context(application):
        yield application


class TestLines:
    @pytest.fixture
    def told(self, collector: Collector) -> list[dict[str, Any]]:
        """On stdout."""
        command = [sys.executable, "-c", PROCESS, f"{collector.url}/v1/logs"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_have_the_fields_that_they_have_on_stdout(
        self, told: list[dict[str, Any]], collector: Collector
    ) -> None:
        last = told.pop()
        assert last["event"] == "not sent any more"
        own = [line for line in told if not line["logger"].startswith(("opentelemetry", "urllib3"))]
        for line in own:
            line.pop("ts")
        assert [as_line(record) for record in collector.lines] == own
        assert [line["event"] for line in own] == [
            "order.placed",
            "Booting worker 7",
            "inside.of_a_trace",
            "request.answered",
            "it.failed",
            "it.ended",
        ]
        assert {line["trace_id"] for line in own[2:5]} == {TRACE}

    def test_have_severity_name_and_flags(self, told: list[dict[str, Any]], collector: Collector) -> None:
        found = [(each.severity_number, each.event_name, each.flags) for each in collector.lines]
        assert found == [
            (9, "order.placed", 0),
            (13, "", 0),
            (5, "inside.of_a_trace", 1),
            (9, "request.answered", 1),
            (17, "it.failed", 1),
            (21, "it.ended", 0),
        ]

    def test_are_of_the_service(self, told: list[dict[str, Any]], collector: Collector) -> None:
        [request] = collector.log_requests
        [resource] = request.resource_logs
        named = {pair.key: plain(pair.value) for pair in resource.resource.attributes}
        assert (named["service.name"], named["service.version"]) == ("tradepost", "1")


class TestRequests:
    async def test_a_line_has_the_trace_of_its_span(
        self, settings: Settings, make: Make, collector: Collector
    ) -> None:
        maria = await make.user()
        async with exporting(settings, collector) as application, Api.of(application, maria.token) as api:
            assert (await api.get("/users/profile", headers=TRACEPARENT)).status_code == 200
        [line] = [
            line for record in collector.lines if (line := as_line(record))["event"] == "request.answered"
        ]
        [span] = collector.served
        assert (line["trace_id"], line["span_id"]) == (TRACE, span.span_id.hex())
        assert (line["route"], line["status"], line["user_id"]) == ("/api/v1/users/profile", 200, maria.id)
        assert "service.stopped" in {plain(record.body) for record in collector.lines}


class TestTroubleWithTheCollector:
    async def test_refused_lines_cost_a_counter(self, settings: Settings) -> None:
        refusing, lost = Collector(status=400), counted(LOGS, outcome="lost")
        try:
            async with exporting(settings, refusing) as application, Api.of(application) as api:
                assert (await api.root("/")).status_code == 200
        finally:
            refusing.close()
        assert len(refusing.lines) > 2
        assert counted(LOGS, outcome="lost") == lost + len(refusing.lines)

    async def test_while_it_hangs_no_more_wait_than_may(
        self, settings: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in (
            ("OTEL_BLRP_MAX_QUEUE_SIZE", "16"),
            ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "8"),
            ("OTEL_BLRP_SCHEDULE_DELAY", "10"),
        ):
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(tracing, "FLUSH_SECONDS", 0.1)
        collector.open.clear()
        async with exporting(settings, collector) as application, Api.of(application) as api:
            processor = application.state.log_export.processor
            assert await asyncio.to_thread(collector.called.wait, 60)
            dropped = counted(LOGS, outcome="dropped")
            for number in range(40):
                structlog.get_logger("tests").info("line.written", number=number)
            assert (await api.root("/")).status_code == 200
            assert processor.waiting == processor.max_queue_size == 16
            assert counted(LOGS, outcome="dropped") >= dropped + 40 - 16
            assert collector.log_requests == []  # nothing has waited for it
        collector.open.set()
        await eventually(lambda: processor.waiting == 0)


class TestSwitchedOff:
    def test_nothing_is_sent_and_the_sdk_is_not_loaded(self) -> None:
        script = (
            "import sys, service.main\n"
            "from service.platform.config import load_settings\n"
            "service.main.create_app(load_settings({'ENVIRONMENT': 'test', 'DATABASE_URL': 'postgres://u:p@127.0.0.1:9/d'}))\n"
            "print([n for n in sys.modules if n.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
        )
        answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert answer.stdout.splitlines()[-1] == "[]"
