"""What is traced, by the standard settings, and the loss of spans that no collector accepts."""

import asyncio
import json
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

from service.platform.config import Settings
from service.platform.telemetry import tracing
from service.platform.telemetry.tracing_sdk import BoundedSpanProcessor, SpanExporter
from tests.helpers.client import Api
from tests.helpers.collector import Collector
from tests.helpers.factories import Make, Person
from tests.helpers.orders import placed
from tests.helpers.waiting import eventually
from tests.platform.jobs.working import working
from tests.platform.telemetry.counted import counted
from tests.platform.telemetry.test_tracing import PARENT, TRACE, TRACEPARENT, ask, traced
from tests.webhooks.receiver import receiver

UNSAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-00"}


def ids(spans: list[Any]) -> set[bytes]:
    return {span.trace_id for span in spans}


class TestSampler:
    async def test_what_is_not_sampled_leaves_nothing_at_all(
        self, settings: Settings, make: Make, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        assert await ask(settings, collector, await make.user(), "/users/profile", "/orders") == [200, 200]
        assert collector.requests == []

    async def test_a_sampled_caller_is_followed(
        self, settings: Settings, make: Make, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        maria = await make.user()
        assert await ask(settings, collector, maria, "/users/profile", headers=TRACEPARENT) == [200]
        [span] = collector.served
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)

    async def test_an_unsampled_caller_too_and_the_log_has_its_trace(
        self, settings: Settings, make: Make, collector: Collector, capsys: pytest.CaptureFixture[str]
    ) -> None:
        maria = await make.user()
        assert await ask(settings, collector, maria, "/users/profile", headers=UNSAMPLED) == [200]
        assert collector.requests == []
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        [line] = [line for line in lines if line.get("route") == "/api/v1/users/profile"]
        assert line["trace_id"] == TRACE

    async def test_a_share_is_the_share_by_trace_ids(
        self, settings: Settings, make: Make, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Others that sample the same share by the same ids keep the same traces."""
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
        low, high, seen = 1, (1 << 128) - 1, []
        async with traced(settings, collector) as app, Api.of(app) as api:
            random_ids = app.state.tracing._ids
            for chosen in (low, high, low, high):
                random_ids.next = chosen
                assert (await api.root("/")).status_code == 200
                seen.append(chosen)
        assert ids(collector.served) == {low.to_bytes(16, "big")}
        assert len(collector.served) == 2

    @pytest.mark.parametrize(
        ("name", "share"), [("parentbased_traceidratio", "0.01"), ("traceidratio", "1"), ("always_on", "")]
    )
    async def test_the_short_way_decides_as_the_sampler_does(
        self,
        settings: Settings,
        collector: Collector,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        share: str,
    ) -> None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", share)
        async with traced(settings, collector) as app:
            traces = app.state.tracing
            limit = traces._below or 0
            edges = [1, limit - 1, limit, limit + 1, tracing.LOW_HALF, tracing.LOW_HALF + 1]
            for chosen in [edge for edge in edges if edge > 0]:
                asked = traces.provider.sampler.should_sample(None, chosen, "GET")
                assert traces._samples(chosen, "GET") is asked.decision.is_sampled()
        assert (limit > 0) is (share != "")

    @pytest.mark.parametrize("header", ["", "junk", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "00-ü-1-01"])
    async def test_a_header_that_is_none_begins_a_trace(
        self, settings: Settings, make: Make, collector: Collector, header: str
    ) -> None:
        headers = {b"traceparent": header.encode("latin-1")}
        assert await ask(settings, collector, await make.user(), "/users/profile", headers=headers) == [200]
        [span] = collector.served
        assert span.parent_span_id == b""

    @pytest.mark.parametrize(
        ("sampler", "traceparent", "passes"),
        [
            ("always_off", "", False),
            ("always_off", "junk", False),
            ("always_off", UNSAMPLED["traceparent"], True),
            ("always_off", TRACEPARENT["traceparent"], True),
            ("always_on", "", True),
        ],
    )
    async def test_what_is_not_traced_goes_around_the_instrumentation(
        self,
        settings: Settings,
        collector: Collector,
        monkeypatch: pytest.MonkeyPatch,
        sampler: str,
        traceparent: str,
        *,
        passes: bool,
    ) -> None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", f"parentbased_{sampler}")
        called = []

        async def passed(self: OpenTelemetryMiddleware, *args: Any) -> None:
            called.append(self)
            await original(self, *args)

        original = OpenTelemetryMiddleware.__call__
        monkeypatch.setattr(OpenTelemetryMiddleware, "__call__", passed)
        async with traced(settings, collector) as app, Api.of(app) as api:
            assert (await api.root("/", headers={"traceparent": traceparent})).status_code == 200
        assert bool(called) is passes

    async def test_later_work_inherits_that_it_is_not_sampled(
        self, settings: Settings, collector: Collector
    ) -> None:
        assert tracing.traceparent() is None
        async with traced(settings, collector):
            told = tracing.traceparent()
            assert told is not None
            assert told.startswith("00-")
            assert told.endswith("-00")
            with tracing.job_span("job", told):
                assert not trace.get_current_span().is_recording()
        assert collector.requests == []


class TestJourney:
    async def test_from_the_order_to_the_webhook_it_is_one_trace(
        self, settings: Settings, make: Make, collector: Collector
    ) -> None:
        ada, maria, item = await make.admin(), await make.user(), await make.item(stock=2)
        private = settings.model_copy(update={"webhook_allow_private": True})
        async with receiver() as erp, traced(private, collector) as app:
            await self._webhook(app, ada, erp.url)
            async with Api.of(app, maria.token) as api:
                buyer = Person(maria.id, maria.email, api, maria.caller, maria.token)
                await placed(buyer, item.id)
            async with working(private, ["mail", "event", "webhook"]):
                await eventually(lambda: erp.requests)
        [order] = [span for span in collector.served if span.name == "POST /api/v1/orders"]
        statements = [span for span in collector.statements if span.parent_span_id == order.span_id]
        ran = {span.name.split(" ")[0] for span in statements}
        assert {"BEGIN", "SELECT", "WITH", "INSERT", "COMMIT"} <= ran
        assert ids(statements) == {order.trace_id}
        jobs = {span.name: span for span in collector.consumed}
        handing_on, delivering = jobs["job event"], jobs["job webhook"]
        assert ids([handing_on, delivering]) == {order.trace_id}
        assert handing_on.parent_span_id == order.span_id
        [post] = [span for span in collector.statements if span.name == "webhook POST"]
        assert (post.trace_id, post.parent_span_id) == (order.trace_id, delivering.span_id)

    @staticmethod
    async def _webhook(app: FastAPI, ada: Person, url: str) -> None:
        async with Api.of(app, ada.token) as api:
            answer = await api.post("/webhooks", json={"url": url, "events": ["order.placed"]})
            assert answer.status_code == 201, answer.text


class TestBound:
    async def test_while_the_collector_hangs_no_more_wait_than_may(
        self, settings: Settings, make: Make, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in (
            ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8"),
            ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ):
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(tracing, "FLUSH_SECONDS", 0.1)
        dropped = counted("trace_spans_total", outcome="dropped")
        collector.open.clear()
        async with traced(settings, collector) as app, Api.of(app) as api:
            processor = app.state.tracing.provider._active_span_processor._span_processors[0]
            assert isinstance(processor, BoundedSpanProcessor)
            for _ in range(200):
                assert (await api.root("/")).status_code == 200
            assert await asyncio.to_thread(collector.called.wait, 60)
            assert processor.waiting == 16
            assert len(processor._batch_processor._queue) <= 16
            assert counted("trace_spans_total", outcome="dropped") == dropped + 200 - 16
            assert collector.requests == []  # nobody has waited for it
        # What is still being sent, beside whatever test is next, would count there.
        collector.open.set()
        await eventually(lambda: processor.waiting == 0)

    @pytest.mark.parametrize("given", ["16", "0", "-1", "junk", ""])
    async def test_what_is_no_bound_is_passed_over(self, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"):
            monkeypatch.setenv(name, given)
        processor = BoundedSpanProcessor(SpanExporter("http://127.0.0.1:9/v1/traces"))
        processor.shutdown()  # type: ignore[no-untyped-call]
        assert processor.max_queue_size == (16 if given == "16" else 2_048)

    async def test_an_absent_collector_costs_a_counter(
        self, settings: Settings, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
        away = Collector()
        away.close()
        lost = counted("trace_spans_total", outcome="lost")
        async with traced(settings, away) as app, Api.of(app) as api:
            for _ in range(20):
                assert (await api.root("/")).status_code == 200
            await asyncio.to_thread(app.state.tracing.provider.force_flush)
            processor = app.state.tracing.provider._active_span_processor._span_processors[0]
            assert processor.waiting == 0
        assert counted("trace_spans_total", outcome="lost") == lost + 20

    async def test_one_that_is_down_is_logged_once_and_again_when_it_is_back(
        self, settings: Settings, make: Make, capsys: pytest.CaptureFixture[str]
    ) -> None:
        refusing = Collector(status=400)
        lost = counted("trace_spans_total", outcome="lost")
        failed = counted("upstream_requests_total", upstream="otlp", outcome="failed")
        answered = counted("upstream_requests_total", upstream="otlp", outcome="answered")
        async with traced(settings, refusing) as app, Api.of(app) as api:
            for status in (400, 400, 200):
                refusing.status = status
                assert (await api.root("/")).status_code == 200
                app.state.tracing.provider.force_flush()
        refusing.close()
        events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
        assert len([event for event in events if event.startswith("Failed to export")]) == 1
        told = [event for event in events if event.startswith("traces.")]
        assert told == ["traces.not_sent", "traces.sent_again"]
        assert counted("trace_spans_total", outcome="lost") == lost + 2
        assert counted("upstream_requests_total", upstream="otlp", outcome="failed") == failed + 2
        assert counted("upstream_requests_total", upstream="otlp", outcome="answered") == answered + 1
