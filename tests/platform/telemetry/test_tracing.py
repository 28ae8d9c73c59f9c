"""Spans as a collector gets them: over HTTP, from the application that ships."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client import REGISTRY

from service import __version__
from service.accounts.users import repository as users
from service.container.api import Container
from service.platform.config import Settings
from service.platform.telemetry import tracing
from tests.helpers.application import app_of
from tests.helpers.client import Api
from tests.helpers.collector import Collector
from tests.helpers.factories import Make, Person
from tests.helpers.waiting import eventually
from tests.platform.jobs.working import emptied, working
from tests.server.process import free_port

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


def attributes(span: Any) -> dict[str, str | int]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


@asynccontextmanager
async def traced(settings: Settings, collector: Collector) -> AsyncIterator[FastAPI]:
    """The application with tracing on; once it is left, everything has been sent."""
    application = app_of(settings.model_copy(update={"otel_exporter_otlp_endpoint": collector.url}))
    lifespan = application.router.lifespan_context(application)
    await lifespan.__aenter__()
    try:
        yield application
    finally:  # a test that fails must leave nothing running either
        await lifespan.__aexit__(None, None, None)


async def ask(
    settings: Settings, collector: Collector, person: Person, *paths: str, method: str = "GET", **options: Any
) -> list[int]:
    """Ask these paths as this person; the statuses."""
    async with traced(settings, collector) as application, Api.of(application, person.token) as api:
        return [(await api.request(method, path, **options)).status_code for path in paths]


class TestServerSpan:
    async def test_has_the_route_and_the_stable_names(
        self, settings: Settings, make: Make, collector: Collector
    ) -> None:
        maria = await make.user()
        assert await ask(settings, collector, maria, f"/users/{maria.id}", headers=TRACEPARENT) == [200]
        [span] = collector.served
        assert span.name == "GET /api/v1/users/{user_id}"
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
        described = attributes(span)
        assert described["http.route"] == "/api/v1/users/{user_id}"
        assert described["http.request.method"] == "GET"
        assert described["http.response.status_code"] == 200
        assert described["url.path"] == "/api/v1/users/{user_id}"
        assert not any(name in described for name in ("http.method", "http.target", "http.url"))
        resource = attributes(collector.requests[0].resource_spans[0].resource)
        assert (resource["service.name"], resource["service.version"]) == ("tradepost", __version__)

    @pytest.mark.parametrize(("method", "path"), [("HEAD", "/users/profile"), ("GET", "/users/profile/")])
    async def test_has_the_right_route_for_other_forms(
        self, settings: Settings, make: Make, collector: Collector, method: str, path: str
    ) -> None:
        assert await ask(settings, collector, await make.user(), path, method=method) == [200]
        [span] = collector.served
        assert span.name == f"{method} /api/v1/users/profile"
        assert attributes(span)["http.route"] == "/api/v1/users/profile"

    async def test_has_no_route_where_there_is_none(
        self, settings: Settings, make: Make, collector: Collector
    ) -> None:
        assert await ask(settings, collector, await make.user(), "/nothing/here") == [404]
        [span] = collector.served
        assert span.name == "GET"
        assert "http.route" not in attributes(span)

    async def test_does_not_reveal_the_search_terms(
        self, settings: Settings, make: Make, collector: Collector
    ) -> None:
        admin = await make.admin()
        assert await ask(settings, collector, admin, "/admin/users?search=maria%40shop.example") == [200]
        [span] = collector.served
        assert attributes(span)["url.query"] == "REDACTED"
        assert "maria" not in str(collector.requests)

    async def test_has_nothing_that_a_client_has_written(
        self, settings: Settings, make: Make, collector: Collector
    ) -> None:
        """The instrumentation reads paths, queries and headers, and fails on bytes that are not text."""
        headers = {
            b"user-agent": b"agent-\xfc\\x",
            b"x-own": b"own",
            b"tracestate": b"a=\xfc\\x",
            b"host": b"host",
        }
        given = {name.encode(): value.encode() for name, value in TRACEPARENT.items()}
        path = "/nothing/here?q=words"
        assert await ask(settings, collector, await make.user(), path, headers=headers | given) == [404]
        [span] = collector.served
        assert {name: value for name, value in attributes(span).items() if name != "server.address"} == {
            "http.request.method": "GET",
            "http.response.status_code": 404,
            "url.path": "REDACTED",
            "url.query": "REDACTED",
            "url.scheme": "http",
        }
        assert span.trace_state == ""

    async def test_a_method_of_a_clients_own_is_another(
        self, settings: Settings, make: Make, collector: Collector
    ) -> None:
        assert await ask(settings, collector, await make.user(), "/users/profile", method="BREW") == [405]
        [span] = collector.served
        assert attributes(span)["http.request.method"] == "_OTHER"
        assert "BREW" not in str(span)


class TestStatements:
    async def test_are_children_without_values(
        self, settings: Settings, make: Make, collector: Collector
    ) -> None:
        maria = await make.user()
        body = {"full_name": "Maria Anders-Klein"}
        assert await ask(settings, collector, maria, "/users/profile", method="PATCH", json=body) == [200]
        [request] = collector.served
        [update] = [span for span in collector.statements if span.name == "UPDATE"]
        assert (update.trace_id, update.parent_span_id) == (request.trace_id, request.span_id)
        described = attributes(update)
        assert described["db.system.name"] == "postgresql"
        assert str(described["db.query.text"]).startswith("UPDATE users SET full_name=$1")
        assert "Anders-Klein" not in str(collector.requests)

    async def test_a_probe_leaves_no_span(self, settings: Settings, make: Make, collector: Collector) -> None:
        async with traced(settings, collector) as application, Api.of(application) as api:
            await eventually(lambda: application.state.container.feed.has_lease)
            for probe in ("/livez", "/readyz", "/startupz", "/health"):
                assert (await api.root(probe)).status_code == 200
        assert collector.requests == []

    async def test_a_fault_has_a_type_and_no_words(
        self, settings: Settings, sql: asyncpg.Connection, make: Make, collector: Collector
    ) -> None:
        """PostgreSQL quotes the whole row when a check fails, the password's hash included."""
        await sql.execute("ALTER TABLE users ADD CONSTRAINT ck_probe CHECK (full_name <> 'Probe')")
        try:
            async with traced(settings, collector) as application:
                tracer = application.state.tracing.provider.get_tracer("tests")
                with tracer.start_as_current_span("work"), pytest.raises(asyncpg.CheckViolationError):
                    await self._add_user(application.state.container)
        finally:
            await sql.execute("ALTER TABLE users DROP CONSTRAINT ck_probe")
        [insert] = [span for span in collector.statements if span.name == "INSERT"]
        assert (insert.status.code, insert.status.message) == (Status.STATUS_CODE_ERROR, "")
        assert attributes(insert)["error.type"] == "CheckViolationError"
        assert list(insert.events) == []
        assert "hunter2" not in str(collector.requests)

    @staticmethod
    async def _add_user(container: Container) -> None:
        async with container.database.transaction() as session:
            await users.add(
                session,
                email="maria@shop.example",
                full_name="Probe",
                password_hash="hunter2-hashed",
                is_active=True,
            )


class TestLog:
    async def test_lines_have_the_trace(
        self, settings: Settings, make: Make, collector: Collector, capsys: pytest.CaptureFixture[str]
    ) -> None:
        await ask(settings, collector, await make.user(), "/users/profile", headers=TRACEPARENT)
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        [line] = [line for line in lines if line.get("route") == "/api/v1/users/profile"]
        [span] = collector.served
        assert (line["trace_id"], line["span_id"]) == (TRACE, span.span_id.hex())

    async def test_lines_and_span_have_the_id_that_was_decided_on(
        self, settings: Settings, make: Make, collector: Collector, capsys: pytest.CaptureFixture[str]
    ) -> None:
        maria = await make.user()
        async with traced(settings, collector) as application, Api.of(application, maria.token) as api:
            application.state.tracing._ids.next = 0xC0FFEE
            assert (await api.get("/users/profile")).status_code == 200
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        [line] = [line for line in lines if line.get("route") == "/api/v1/users/profile"]
        [span] = collector.served
        assert (line["trace_id"], line["span_id"]) == (f"{0xC0FFEE:032x}", span.span_id.hex())
        assert {each.trace_id for each in [span, *collector.statements]} == {(0xC0FFEE).to_bytes(16, "big")}


class TestStreams:
    async def test_leave_no_span_and_their_tickets_no_trace(
        self, settings: Settings, make: Make, collector: Collector
    ) -> None:
        maria = await make.user()
        async with traced(settings, collector) as application, Api.of(application) as api:
            application.state.container.subscribers.longest_seconds = 0
            ticket = (await api.signed_in(maria.token).post("/notifications/stream-ticket")).json()["ticket"]
            for path in ("/notifications/stream", "/notifications/stream/"):
                answer = await api.signed_in(maria.token).get(path, params={"last_event_id": 0})
                assert answer.status_code == 200
            answer = await api.get("/notifications/stream", params={"ticket": ticket})
            assert answer.status_code == 200
        [span] = collector.served
        assert span.name == "POST /api/v1/notifications/stream-ticket"
        assert ticket not in str(collector.requests)


class TestTroubleWithTheCollector:
    async def test_refused_spans_cost_a_counter(self, settings: Settings, make: Make) -> None:
        before = REGISTRY.get_sample_value("trace_spans_total", {"outcome": "lost"}) or 0
        refusing = Collector(status=400)
        try:
            assert await ask(settings, refusing, await make.user(), "/users/profile") == [200]
        finally:
            refusing.close()
        lost = len(refusing.served) + len(refusing.statements)
        assert lost > 1
        assert REGISTRY.get_sample_value("trace_spans_total", {"outcome": "lost"}) == before + lost

    async def test_one_that_hangs_does_not_hold_up_the_end(
        self, settings: Settings, make: Make, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tracing, "FLUSH_SECONDS", 0.1)
        collector.open.clear()
        assert await ask(settings, collector, await make.user(), "/users/profile") == [200]
        assert await asyncio.to_thread(collector.called.wait, 60)
        assert collector.requests == []  # it has still not answered
        collector.open.set()
        await eventually(lambda: collector.requests)

    def test_its_key_is_in_no_line(self, collector: Collector) -> None:
        """A process of its own, for the level of the log is the process's."""
        script = (
            "import sys\n"
            "from service.platform.config import Settings\n"
            "from service.platform.telemetry import logging, tracing\n"
            "logging.configure('DEBUG', 'json')\n"
            "settings = Settings(otel_exporter_otlp_endpoint=sys.argv[1])\n"
            "traces = tracing.of(settings.traces_endpoint, 'tradepost', '1')\n"
            "traces.provider.get_tracer('t').start_span('asked').end()\n"
            "traces.shutdown(60)\n"
        )
        for status in (200, 400):
            collector.status = status
            command = [sys.executable, "-c", script, f"{collector.url}?key=canary-of-the-collector"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            assert "canary" not in done.stdout + done.stderr
        assert len(collector.requests) == 2
        assert "traces.not_sent" in done.stdout

    @pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
    def test_its_key_is_in_no_line_while_nothing_listens_there(self, signal: str) -> None:
        """The HTTP client's errors have the whole address."""
        url = f"http://127.0.0.1:{free_port()}/v1/{signal}?key=canary-of-the-collector"
        command = [sys.executable, "-c", WITHOUT_A_COLLECTOR, signal, url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "canary" not in done.stdout + done.stderr
        assert "Transient error ConnectionError encountered while exporting" in done.stdout

    async def test_several_that_hang_take_the_end_of_a_process_no_longer_than_one(self) -> None:
        """Each waits until the other waits too."""
        together = threading.Barrier(2, timeout=60)

        class Hanging:
            def shutdown(self, patience: float) -> None:
                together.wait()

        await tracing.end_exports((Hanging(), None, Hanging()), 30)


#: A process that has something to send, and ends soon.
WITHOUT_A_COLLECTOR = """
import sys, time
import structlog
from service.platform.telemetry import logging, metric_files, tracing
signal, url = sys.argv[1:]
logging.configure("INFO", "json")
if signal == "traces":
    sent = tracing.of(url, "tradepost", "1")
    sent.provider.get_tracer("t").start_span("asked").end()
elif signal == "logs":
    sent = logging.export_to(url, "tradepost", "1")
    structlog.get_logger("service").info("order.placed")
else:
    from prometheus_client import REGISTRY
    from service.platform.telemetry.otlp_metrics import MetricPush
    sent = MetricPush(REGISTRY, url, {})
sent.shutdown(1)
"""


class TestSwitchedOff:
    def test_nothing_is_instrumented(self, app: FastAPI, settings: Settings) -> None:
        assert settings.traces_endpoint is None
        assert app.state.tracing is None
        assert not hasattr(asyncpg.Connection.execute, "__wrapped__")

    async def test_nothing_stays_instrumented(
        self, settings: Settings, make: Make, collector: Collector
    ) -> None:
        async with traced(settings, collector):
            assert hasattr(asyncpg.Connection.execute, "__wrapped__")
        assert not hasattr(asyncpg.Connection.execute, "__wrapped__")

    def test_the_sdk_is_not_even_loaded(self) -> None:
        script = (
            "import sys, service.main; print([n for n in sys.modules if n.startswith('opentelemetry.sdk')])"
        )
        answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert answer.stdout == "[]\n"


class TestJobs:
    async def test_go_on_with_the_trace_of_their_request(
        self,
        settings: Settings,
        make: Make,
        collector: Collector,
        sql: asyncpg.Connection,
    ) -> None:
        admin, chai = await make.admin(), await make.item()
        options: dict[str, Any] = {"method": "PATCH", "json": {"price": "19.00"}, "headers": TRACEPARENT}
        assert await ask(settings, collector, admin, f"/items/{chai.id}", **options) == [200]
        [asked] = collector.served
        stored = await sql.fetchval("SELECT traceparent FROM events")
        assert stored == f"00-{TRACE}-{asked.span_id.hex()}-01"
        endpoint = f"{collector.url}/v1/traces"
        traces = tracing.install(endpoint=endpoint, service_name="tradepost", service_version="1")
        async with working(settings, ["event"]):
            await emptied(sql)
        traces.shutdown(60)
        [job] = collector.spans(Span.SPAN_KIND_CONSUMER)
        assert (job.name, job.trace_id.hex()) == ("job event", TRACE)
        assert job.parent_span_id == asked.span_id
        assert job.span_id in {span.parent_span_id for span in collector.statements}
