"""Metrics of webhooks."""

from typing import Literal

from service.platform.telemetry.metrics import BatchedHistogram, Counter

TRIES = Counter(
    "webhook_deliveries_total",
    "Attempts at webhook deliveries: succeeded, to be retried, or failed for good.",
    ["outcome"],
)
DURATION = BatchedHistogram(
    "webhook_delivery_duration_seconds",
    "Time from resolving the receiver's name to the end of its response.",
    ["outcome"],
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
DISABLED = Counter("webhooks_disabled_total", "Webhooks that were disabled, by reason.", ["reason"])


def webhook_tried(outcome: Literal["succeeded", "retried", "failed"], seconds: float) -> None:
    TRIES.labels(outcome).inc()
    DURATION.observe(seconds, outcome)


def webhook_disabled(reason: Literal["gone", "failing"]) -> None:
    DISABLED.labels(reason).inc()


def begin() -> None:
    """What counts from zero in a worker, so that the first of something is an increase."""
    for outcome in ("succeeded", "retried", "failed"):
        TRIES.labels(outcome)
    for reason in ("gone", "failing"):
        DISABLED.labels(reason)
