"""Metrics of events."""

from service.platform.telemetry.metrics import Counter

EVENTS = Counter(
    "events_total", "Events by type: raised by a change, delivered to their consumers.", ["type", "outcome"]
)


def event_handed_on(event_type: str) -> None:
    EVENTS.labels(event_type, "handed_on").inc()
