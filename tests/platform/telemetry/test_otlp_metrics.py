"""Metrics as a collector gets them: what the metrics' port shows, from one sender."""

import os
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, Metric
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.utils import floatToGoString

from service.platform.telemetry import metric_files
from tests.helpers.collector import Collector
from tests.platform.telemetry.counted import counted
from tests.platform.telemetry.test_exemplars import OTHER, observed_by_a_process
from tests.platform.telemetry.test_tracing import TRACE

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def attributes(point: Any) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in point.attributes}


def shown(text: str) -> Samples:
    """What Prometheus reads."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def sent(metrics: dict[str, Metric]) -> Samples:
    """The same samples from the message."""
    found: Samples = {}
    for name, metric in metrics.items():
        for point in [*metric.gauge.data_points, *metric.sum.data_points]:
            found[name, frozenset(attributes(point).items())] = point.as_double
        for point in metric.histogram.data_points:
            labels = attributes(point)
            bounds = [floatToGoString(each) for each in [*point.explicit_bounds, float("inf")]]  # type: ignore[no-untyped-call]
            for bound, count in zip(bounds, accumulate(point.bucket_counts), strict=True):
                found[f"{name}_bucket", frozenset({**labels, "le": bound}.items())] = count
            found[f"{name}_sum", frozenset(labels.items())] = point.sum
            found[f"{name}_count", frozenset(labels.items())] = point.count
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of two processes that have counted."""
    observed_by_a_process(tmp_path, f"0.2={TRACE}", "0.3", "0.05")
    observed_by_a_process(tmp_path, f"0.4={OTHER}", "7")
    monkeypatch.setenv(metric_files.MULTIPROC_DIR, str(tmp_path))
    return tmp_path


def pushed(collector: Collector) -> dict[str, Metric]:
    """At the end of a process."""
    pushing = metric_files.push(f"{collector.url}/v1/metrics", "tradepost", "1", master=os.getpid())
    assert pushing is not None
    pushing.shutdown(60)
    pushing.shutdown(60)
    assert len(collector.metric_requests) == 1
    return collector.metrics


class TestOverProcesses:
    def test_they_are_those_of_the_metrics_port(self, folder: Path, collector: Collector) -> None:
        metrics = pushed(collector)
        assert sent(metrics) == shown(generate_latest(metric_files._summed(os.getpid())).decode())
        assert set(metrics) == {"shop_seconds", "shop_total", "process_start_time_seconds"}
        assert metrics["shop_total"].description == "How many."

    def test_they_are_cumulative_since_the_start_of_the_service(
        self, folder: Path, collector: Collector
    ) -> None:
        metrics = pushed(collector)
        [start] = [point.as_double for point in metrics["process_start_time_seconds"].gauge.data_points]
        for data in (metrics["shop_total"].sum, metrics["shop_seconds"].histogram):
            assert data.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
            [point] = data.data_points
            assert point.start_time_unix_nano == int(start * 1e9) < point.time_unix_nano
        assert metrics["shop_total"].sum.is_monotonic

    def test_they_have_exemplars(self, folder: Path, collector: Collector) -> None:
        [point] = pushed(collector)["shop_seconds"].histogram.data_points
        assert [(each.as_double, each.trace_id.hex()) for each in point.exemplars] == [(0.4, OTHER)]
        assert {each.span_id.hex() for each in point.exemplars} == {f"{1:016x}"}


class TestTroubleWithTheCollector:
    def test_one_that_refuses_costs_a_counter(
        self, folder: Path, collector: Collector, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lost = counted("metric_exports_total", outcome="lost")
        collector.status = 400
        pushed(collector)
        assert counted("metric_exports_total", outcome="lost") == lost + 1

    def test_one_that_hangs_does_not_hold_up_the_end(self, folder: Path, collector: Collector) -> None:
        collector.open.clear()
        pushing = metric_files.push(f"{collector.url}/v1/metrics", "tradepost", "1", master=os.getpid())
        assert pushing is not None
        pushing.shutdown(0.1)
        assert collector.metric_requests == []

    def test_without_an_endpoint_there_is_none(self) -> None:
        assert metric_files.push(None, "tradepost", "1") is None
