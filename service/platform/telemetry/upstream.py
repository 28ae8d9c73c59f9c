"""Calls to upstream services: metrics, and a span in the current trace."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from service.platform.telemetry import tracing
from service.platform.telemetry.metrics import BatchedCounter, BatchedHistogram

Upstream = Literal["geocoding", "forecast", "redis", "smtp", "otlp"]
Outcome = Literal["answered", "failed", "timed_out"]

REQUESTS: Final = BatchedCounter(
    "upstream_requests_total",
    "Calls to upstream services: answered, failed or timed out.",
    ["upstream", "outcome"],
)
DURATION: Final = BatchedHistogram(
    "upstream_request_duration_seconds",
    "Time of calls to upstream services, whatever their outcome.",
    ["upstream"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)


@contextmanager
def call(name: Upstream) -> Iterator[None]:
    """One call, in the event loop's thread. A cancelled call counts as timed out."""
    began = time.perf_counter()
    outcome: Outcome = "failed"
    try:
        with tracing.client_span(name):
            yield
        outcome = "answered"
    except (TimeoutError, asyncio.CancelledError):
        outcome = "timed_out"
        raise
    finally:
        REQUESTS.inc(name, outcome)
        DURATION.observe(time.perf_counter() - began, name)


def count_export(seconds: float, *, good: bool) -> None:
    """An export of spans. It is called in the exporter's thread, where batched metrics may not be used."""
    REQUESTS.metric.labels("otlp", "answered" if good else "failed").inc()
    DURATION.metric.labels("otlp").observe(seconds)
