"""Lines and metrics of real processes at a collector: all of them, and each once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.collector import Collector
from tests.helpers.waiting import wait_until
from tests.platform.telemetry.test_otlp_logs import as_line
from tests.platform.telemetry.test_otlp_metrics import attributes
from tests.server.process import cloned_database, get, started

pytestmark = pytest.mark.slow

ROUTE = "/.well-known/jwks.json"
REQUESTS = 40


@pytest.fixture
def database() -> Iterator[str]:
    with cloned_database() as url:
        yield url


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def settings(database: str, collector: Collector) -> dict[str, Any]:
    both = {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp", "OTEL_TRACES_EXPORTER": "none"}
    return {**both, "DATABASE_URL": database, "OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}?key=canary"}


class TestService:
    def test_the_last_messages_have_what_all_workers_have_counted_and_written(
        self, database: str, tmp_path: Path, collector: Collector
    ) -> None:
        with started(tmp_path, WEB_CONCURRENCY=2, **settings(database, collector)) as service:
            service.wait_until_up()
            for _ in range(REQUESTS):
                assert get(f"{service.url}{ROUTE}").status_code == 200
            assert service.stop() == 0
            written = [line for line in service.events("request.answered") if line["route"] == ROUTE]
            assert "canary" not in service.stdout + service.stderr
        points = collector.metrics["http_requests_total"].sum.data_points
        [point] = [each for each in points if attributes(each)["route"] == ROUTE]
        assert point.as_double == REQUESTS
        sent = [line for each in collector.lines if (line := as_line(each)).get("route") == ROUTE]
        for line in written:
            line.pop("ts")
        by_id = {line["request_id"]: line for line in sent}
        assert len(sent) == len(written) == REQUESTS
        assert by_id == {line["request_id"]: line for line in written}

    def test_metrics_go_on_being_sent(self, database: str, tmp_path: Path, collector: Collector) -> None:
        often = {**settings(database, collector), "OTEL_METRIC_EXPORT_INTERVAL": 100}
        with started(tmp_path, WEB_CONCURRENCY=1, **often) as service:
            service.wait_until_up()
            before = len(collector.metric_requests)
            wait_until(lambda: len(collector.metric_requests) > before + 5)
            # Its own metrics are written by the same process, which still serves.
            assert 'metric_exports_total{outcome="sent"}' in service.metrics()
            assert service.stop() == 0
            assert "Traceback" not in service.stderr


class TestWorker:
    def test_sends_its_own(self, database: str, tmp_path: Path, collector: Collector) -> None:
        module = ("service", "worker")
        with started(tmp_path, module=module, **settings(database, collector)) as worker:
            worker.wait_until_up()
            assert worker.stop() == 0
        assert {"build_info", "thread_pool_limit", "process_resident_memory_bytes"} <= set(collector.metrics)
        assert any(as_line(each).get("process") == "worker" for each in collector.lines)
