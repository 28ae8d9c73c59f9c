"""Metrics of jobs, which a worker measures."""

from collections.abc import Iterable
from typing import Literal

from service.platform.telemetry.metrics import BatchedHistogram, Counter, Gauge, Histogram

JOBS = Counter(
    "jobs_total",
    "Attempts at jobs: done, put off after a fault, failed for good, handed back by a worker that stops.",
    ["kind", "outcome"],
)
DURATION = BatchedHistogram(
    "job_duration_seconds",
    "Time of an attempt at a job, whatever its outcome.",
    ["kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
DELAY = Histogram(
    "job_delay_seconds",
    "Time from when an attempt was due until it started.",
    ["kind"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
ATTEMPTS = Histogram(
    "job_attempts",
    "Attempts that a job took until it was done or had failed for good.",
    ["kind"],
    buckets=(1, 2, 3, 5, 8, 12),
)
WAITING = Gauge(
    "jobs_waiting", "Jobs that are waiting in the queue.", ["kind"], multiprocess_mode="mostrecent"
)
FAILED = Gauge(
    "jobs_failed", "Jobs that have failed for good and are kept.", ["kind"], multiprocess_mode="mostrecent"
)
OLDEST = Gauge(
    "job_oldest_waiting_seconds",
    "How long the oldest waiting job has been due.",
    ["kind"],
    multiprocess_mode="mostrecent",
)

Outcome = Literal["done", "put_off", "failed", "handed_back"]


def job_begun(kind: str, delay: float) -> None:
    DELAY.labels(kind).observe(max(delay, 0.0))


def job_ended(kind: str, outcome: Outcome, seconds: float, attempts: int) -> None:
    JOBS.labels(kind, outcome).inc()
    DURATION.observe(seconds, kind)
    if outcome in {"done", "failed"}:
        ATTEMPTS.labels(kind).observe(attempts)


def queue_seen(kind: str, *, waiting: int, failed: int, oldest_seconds: float) -> None:
    WAITING.labels(kind).set(waiting)
    FAILED.labels(kind).set(failed)
    OLDEST.labels(kind).set(oldest_seconds)


def begin(kinds: Iterable[str]) -> None:
    """Export each counter at 0, so that its first event shows as an increase."""
    for kind in kinds:
        for outcome in ("done", "put_off", "failed", "handed_back"):
            JOBS.labels(kind, outcome)
