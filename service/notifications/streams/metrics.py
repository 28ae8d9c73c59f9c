"""Metrics of streams of notifications."""

from service.platform.telemetry.metrics import Counter, Gauge

OPEN = Gauge(
    "notification_streams",
    "Notification streams that are open, by what opened them: a token or a ticket.",
    ["opened_by"],
    multiprocess_mode="livesum",
)
ENDED = Counter(
    "notification_streams_ended_total", "Notification streams that have ended, by reason.", ["reason"]
)


def stream_opened(opened_by: str) -> None:
    OPEN.labels(opened_by).inc()


def stream_ended(opened_by: str, reason: str) -> None:
    OPEN.labels(opened_by).dec()
    ENDED.labels(reason).inc()
