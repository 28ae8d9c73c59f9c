"""Metrics of exports."""

from service.platform.telemetry.metrics import Counter, Gauge

RUNNING = Gauge(
    "exports_running", "Exports that are running, by what is exported.", ["of"], multiprocess_mode="livesum"
)
ENDED = Counter(
    "exports_ended_total",
    "Exports that have ended, by what was exported and why they ended.",
    ["of", "reason"],
)
ROWS = Counter("exported_rows_total", "Orders, items and customers that were sent by exports.", ["of"])


def export_begun(of: str) -> None:
    RUNNING.labels(of).inc()


def export_ended(of: str, reason: str, rows: int) -> None:
    RUNNING.labels(of).dec()
    ENDED.labels(of, reason).inc()
    ROWS.labels(of).inc(rows)
