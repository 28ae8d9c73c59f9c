"""Metrics of jobs, which a worker measures."""

from collections.abc import Iterable
from typing import Literal

from service.platform.telemetry.metrics import Counter, Gauge, Histogram

JOBS = Counter(
    "jobs_total",
    "Attempts at jobs: done, to be retried after a fault, failed for good, released at the end of a worker.",
    ["kind", "outcome"],
)
DURATION = Histogram(
    "job_duration_seconds",
    "Of an attempt at a job, whatever its outcome.",
    ["kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
DELAY = Histogram(
    "job_delay_seconds",
    "From when an attempt could have begun to when it did.",
    ["kind"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
ATTEMPTS = Histogram(
    "job_attempts",
    "How many attempts a job took until it was done or had failed.",
    ["kind"],
    buckets=(1, 2, 3, 5, 8, 12),
)
WAITING = Gauge("jobs_waiting", "Jobs in the queue.", ["kind"], multiprocess_mode="mostrecent")
FAILED = Gauge(
    "jobs_failed", "Jobs that have failed for good and are kept.", ["kind"], multiprocess_mode="mostrecent"
)
OLDEST = Gauge(
    "job_oldest_waiting_seconds",
    "For how long the oldest job could have been taken.",
    ["kind"],
    multiprocess_mode="mostrecent",
)

Outcome = Literal["done", "put_off", "failed", "handed_back"]


def job_begun(kind: str, delay: float) -> None:
    DELAY.labels(kind).observe(max(delay, 0.0))


def job_ended(kind: str, outcome: Outcome, seconds: float, attempts: int) -> None:
    JOBS.labels(kind, outcome).inc()
    DURATION.labels(kind).observe(seconds)
    if outcome in {"done", "failed"}:
        ATTEMPTS.labels(kind).observe(attempts)


def queue_seen(kind: str, *, waiting: int, failed: int, oldest_seconds: float) -> None:
    WAITING.labels(kind).set(waiting)
    FAILED.labels(kind).set(failed)
    OLDEST.labels(kind).set(oldest_seconds)


def begin(kinds: Iterable[str]) -> None:
    """What counts from zero in a worker, so that the first of something is an increase."""
    for kind in kinds:
        for outcome in ("done", "put_off", "failed", "handed_back"):
            JOBS.labels(kind, outcome)
