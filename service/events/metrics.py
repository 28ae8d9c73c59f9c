"""Metrics of events."""

from service.platform.telemetry.metrics import Counter, unlabelled_gauge

EVENTS = Counter(
    "events_total", "Events by type: raised by a change, delivered to their consumers.", ["type", "outcome"]
)


def event_handed_on(event_type: str) -> None:
    EVENTS.labels(event_type, "handed_on").inc()


def sequencer_lag(seconds: float) -> None:
    """Of the worker alone, so that processes that serve requests do not say 0."""
    unlabelled_gauge(
        "event_sequencer_lag_seconds",
        "How long the oldest committed event had waited for its place when the worker last looked.",
        "livemax",
    ).set(seconds)
