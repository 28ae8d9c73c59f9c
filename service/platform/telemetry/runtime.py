"""The process itself: how late its event loop is, its threads and its build."""

import asyncio
from collections.abc import Callable
from typing import Final, Literal

import structlog
from anyio import to_thread

from service.platform.telemetry import metric_values, metrics
from service.platform.telemetry.metrics import (
    BatchedHistogram,
    Counter,
    Gauge,
    unlabelled_counter,
    unlabelled_gauge,
)
from service.platform.telemetry.repeats import Repeats

log = structlog.get_logger(__name__)

#: A delay of the event loop that is longer than this is measured.
TICK_SECONDS: Final = 0.1
#: After how many ticks batched metrics are written, and gauges are sampled and exemplars written.
FLUSH_TICKS: Final = 2
SAMPLE_TICKS: Final = 10

LAG: Final = BatchedHistogram(
    "event_loop_lag_seconds",
    "Delay of the event loop's timers, measured ten times a second.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
BUILD: Final = Gauge(
    "build_info", "The version of the service that is running.", ["version"], multiprocess_mode="livemax"
)
EXITS: Final = Counter(
    "gunicorn_worker_exits_total",
    "Gunicorn workers that have ended, by reason: timeout, signal, error or normal.",
    ["reason"],
)
SPANS: Final = Counter(
    "trace_spans_total",
    "Spans: sent to the collector, lost because it did not accept them, or dropped from a full queue.",
    ["outcome"],
)
LOG_RECORDS: Final = Counter(
    "log_records_exported_total",
    "Log lines: sent to the collector, lost because it did not accept them, or dropped from a full queue.",
    ["outcome"],
)
METRIC_EXPORTS: Final = Counter(
    "metric_exports_total", "Exports of all metrics: sent to the collector, or lost.", ["outcome"]
)
REASONS: Final = ("timeout", "signal", "error", "normal")


class RuntimeMonitor:
    """Measures the event loop's lag, writes batched metrics and samples gauges while a process runs."""

    def __init__(self, *probes: Callable[[], None]) -> None:
        self._probes = (_sample_threads, *probes)
        self._task: asyncio.Task[None] | None = None
        self._repeats = Repeats()

    def start(self, version: str) -> None:
        BUILD.labels(version).set(1)
        LAG.begin()
        for outcome in ("sent", "lost", "dropped"):
            SPANS.labels(outcome)
        self._sample()
        self._task = asyncio.create_task(self._run(), name="runtime_monitor")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._sample()

    async def _run(self) -> None:
        loop, tick = asyncio.get_running_loop(), 0
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            LAG.observe(max(loop.time() - due, 0.0))
            tick += 1
            if tick % SAMPLE_TICKS == 0:
                self._sample()
            elif tick % FLUSH_TICKS == 0:
                metrics.flush()

    def _sample(self) -> None:
        for probe in self._probes:
            probe()
        metrics.flush()
        metrics.write_exemplars()
        if not metric_values.lack_values():
            self._repeats.end()
        elif self._repeats.is_due("no room"):
            log.warning("metrics.not_written", cause="the folder of the metrics is full")


def _sample_threads() -> None:
    limiter = to_thread.current_default_thread_limiter()
    unlabelled_gauge("thread_pool_tasks", "Threads of the pool that are in use.", "livesum").set(
        limiter.borrowed_tokens
    )
    limit = unlabelled_gauge("thread_pool_limit", "The most threads that the pool may have.", "livesum")
    limit.set(float(limiter.total_tokens))


def master_began() -> None:
    workers_started()
    for reason in REASONS:
        EXITS.labels(reason)


def workers_started() -> Counter:
    """Counted by the master."""
    return unlabelled_counter("gunicorn_workers_started_total", "Gunicorn workers that have been started.")


def worker_ready() -> None:
    unlabelled_gauge("gunicorn_workers", "Gunicorn workers that are running.", "livesum").set(1)


def worker_ended(reason: str) -> None:
    EXITS.labels(reason).inc()


def spans_ended(count: int, outcome: Literal["sent", "lost", "dropped"]) -> None:
    SPANS.labels(outcome).inc(count)


def log_records_ended(count: int, outcome: Literal["sent", "lost", "dropped"]) -> None:
    LOG_RECORDS.labels(outcome).inc(count)


def metrics_exported(outcome: Literal["sent", "lost", "dropped"]) -> None:
    METRIC_EXPORTS.labels(outcome).inc()
