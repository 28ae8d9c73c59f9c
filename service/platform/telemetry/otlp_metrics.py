"""What a registry of prometheus_client collects, to a collector. Imported only where it is on.

The SDK's own metrics know no second process. So they are not used: what the metrics' port shows, the sum over
all processes, is sent under the same names and labels, cumulative, with its exemplars.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Final

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

from service.platform.telemetry import runtime
from service.platform.telemetry.otlp_delivery import Delivery, setting
from service.platform.telemetry.sampled_trace import SPAN_ID, TRACE_ID

log = structlog.get_logger(__name__)

INTERVAL_MS: Final = 60_000
#: What the last export, at the end of a process, may take.
LAST_SECONDS: Final = 0.8
CUMULATIVE: Final = AggregationTemporality.CUMULATIVE
SCOPE: Final = InstrumentationScope("service.platform.telemetry")
START: Final = "process_start_time_seconds"

Labels = tuple[tuple[str, str], ...]


class MetricPush:
    """Sends all of a registry's metrics every OTEL_METRIC_EXPORT_INTERVAL, from a thread, and at the end."""

    def __init__(self, registry: CollectorRegistry, endpoint: str, resource: Mapping[str, str]) -> None:
        self._registry, self._resource = registry, Resource.create(resource)
        self._exporter = OTLPMetricExporter(endpoint)
        self._delivery = Delivery("metrics", lambda _, outcome: runtime.metrics_exported(outcome))
        self._interval = setting("OTEL_METRIC_EXPORT_INTERVAL", INTERVAL_MS) / 1_000
        self._began = time.time()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metric_push", daemon=True)
        self._thread.start()

    def shutdown(self, patience: float = LAST_SECONDS) -> None:
        if self._ending.is_set():
            return
        self._ending.set()
        self._thread.join(min(patience, LAST_SECONDS))
        self._exporter.shutdown()
        self._delivery.shutdown()

    def _run(self) -> None:
        while not self._ending.wait(self._interval):
            self._export()
        self._export()

    def _export(self) -> None:
        began, result = time.perf_counter(), MetricExportResult.FAILURE
        try:
            result = self._exporter.export(self._collected())
        except Exception:
            log.exception("metrics.not_collected")
        self._delivery.ended(1, began, good=result is MetricExportResult.SUCCESS)

    def _collected(self) -> MetricsData:
        families = [*self._registry.collect()]
        starts = [each.value for family in families if family.name == START for each in family.samples]
        moments = int((starts[0] if starts else self._began) * 1e9), time.time_ns()
        metrics = [metric for family in families if (metric := _converted(family, *moments))]
        return MetricsData([ResourceMetrics(self._resource, [ScopeMetrics(SCOPE, metrics, "")], "")])


def _converted(family: Family, start: int, now: int) -> Metric | None:
    """`start` and `now` in nanoseconds. None for a family without samples."""
    data: Sum | Gauge | Histogram
    name = f"{family.name}_total" if family.type == "counter" else family.name
    if family.type == "histogram":
        data = Histogram([*_histograms(family, start, now)], CUMULATIVE)
    elif family.type == "counter":
        data = Sum([*_numbers(family.samples, name, start, now)], CUMULATIVE, is_monotonic=True)
    else:
        data = Gauge([*_numbers(family.samples, name, start, now)])
    return Metric(name, family.documentation, "", data) if data.data_points else None


def _numbers(samples: Iterable[Sample], name: str, start: int, now: int) -> Iterator[NumberDataPoint]:
    return (
        NumberDataPoint(each.labels, start, now, float(each.value)) for each in samples if each.name == name
    )


def _histograms(family: Family, start: int, now: int) -> Iterator[HistogramDataPoint]:
    """One for each combination of labels. Prometheus's buckets contain those below, OTLP's do not."""
    by_labels: dict[Labels, list[Sample]] = {}
    sums: dict[Labels, float] = {}
    for each in family.samples:
        labels = tuple(sorted((key, value) for key, value in each.labels.items() if key != "le"))
        if each.name == f"{family.name}_bucket":
            by_labels.setdefault(labels, []).append(each)
        elif each.name == f"{family.name}_sum":
            sums[labels] = each.value
    for labels, buckets in by_labels.items():
        counts = [int(each.value) for each in buckets]
        yield HistogramDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=start,
            time_unix_nano=now,
            count=counts[-1],
            sum=sums[labels],
            bucket_counts=[after - before for before, after in pairwise([0, *counts])],
            explicit_bounds=[float(each.labels["le"]) for each in buckets[:-1]],
            # They are not known, and the protocol lets them be left out.
            min=None,  # type: ignore[arg-type]
            max=None,  # type: ignore[arg-type]
            exemplars=[*_exemplars(buckets)],
        )


def _exemplars(buckets: Iterable[Sample]) -> Iterator[Exemplar]:
    for each in buckets:
        if (found := each.exemplar) is not None:
            ids = int(found.labels[SPAN_ID], 16), int(found.labels[TRACE_ID], 16)
            yield Exemplar({}, found.value, int(float(found.timestamp or 0) * 1e9), *ids)
