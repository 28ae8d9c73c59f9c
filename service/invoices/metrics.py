"""Metrics of invoices."""

from contextlib import AbstractContextManager
from typing import Literal

from service.platform.telemetry.metrics import Counter, Gauge

INVOICES = Counter(
    "invoices_total",
    "Invoices by outcome: rendered; refused or given up (waited) because too many wait; "
    "lost with a process that died or was too slow (timed_out); failed by a fault of ours.",
    ["outcome"],
)
INVOICES_UNDER_WAY = Gauge(
    "invoices_under_way",
    "Invoices that are being rendered or wait for a process.",
    ["state"],
    multiprocess_mode="livesum",
)


def invoice_ended(outcome: str) -> None:
    INVOICES.labels(outcome).inc()


def invoices_under_way(state: Literal["waiting", "rendering"]) -> AbstractContextManager[None]:
    return INVOICES_UNDER_WAY.labels(state).track_inprogress()
