"""Metrics of the event feed."""

from service.platform.telemetry.metrics import Counter, Gauge

WAITING = Gauge(
    "event_feed_waiting", "Requests that wait for events at the event feed.", multiprocess_mode="livesum"
)
FED = Counter("event_feed_events_total", "Events that the event feed has answered with, by type.", ["type"])
POSITIONS = Counter(
    "event_feed_positions_total",
    "Requests to the event feed from a position that is unknown or has expired.",
    ["outcome"],
)


def event_fed(event_type: str) -> None:
    FED.labels(event_type).inc()


def position_refused() -> None:
    POSITIONS.labels("refused").inc()
