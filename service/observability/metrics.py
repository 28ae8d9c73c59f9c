"""Prometheus metrics. Labels are bounded: a route's template, never a path, a user or an id.

A metric without labels would open its file when this module is imported, before the folder is there.
"""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess, start_http_server

log = structlog.get_logger(__name__)

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"

REQUESTS = Counter("http_requests_total", "HTTP requests answered.", ["method", "route", "status"])
DURATION = Histogram(
    "http_request_duration_seconds",
    "From the request's first byte to the answer's last, in seconds.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0),
)
SPANS = Counter("trace_spans_total", "Spans handed to the collector, by whether it took them.", ["outcome"])
MAILS = Counter("mails_total", "Mails, by what they are about and what became of them.", ["kind", "outcome"])
SIGN_INS = Counter("sign_ins_total", "Sign-ins with a password.", ["outcome"])
REFRESHES = Counter(
    "token_refreshes_total", "Uses of refresh tokens; reused is theft, which ends the session.", ["outcome"]
)
RATE_LIMITS = Counter(
    "rate_limit_decisions_total",
    "Requests under a rate limit: allowed, refused, or let through because the store has failed.",
    ["policy", "decision"],
)
SLOWED = Counter(
    "sign_ins_slowed_total",
    "Sign-ins that followed too many failures: those that waited, and those refused because too many wait.",
    ["outcome"],
)
STREAMS = Gauge(
    "notification_streams",
    "Streams of notifications that are open, by what has opened them: a token or a ticket.",
    ["opened_by"],
    multiprocess_mode="livesum",
)
STREAMS_ENDED = Counter(
    "notification_streams_ended_total", "Streams of notifications that have ended, by why.", ["reason"]
)
WEBHOOK_TRIES = Counter(
    "webhook_deliveries_total",
    "Tries of webhook deliveries: succeeded, to be retried, or failed for good.",
    ["outcome"],
)
WEBHOOK_DURATION = Histogram(
    "webhook_delivery_duration_seconds",
    "From looking the receiver up to the end of its answer, in seconds.",
    ["outcome"],
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
WEBHOOKS_DISABLED = Counter("webhooks_disabled_total", "Webhooks that were given up, and why.", ["reason"])
REPLAYS = Counter("idempotent_replays_total", "Requests sent again under their key.", ["route"])
RETRIES = Counter(
    "database_transactions_retried_total",
    "Requests run again after a deadlock or a serialisation failure.",
    ["route"],
)
INVOICES = Counter(
    "invoices_total",
    "Invoices by what became of them: rendered; refused or given up (waited) because too many wait; "
    "lost with a process that died or was too slow (timed_out); failed by a fault of ours.",
    ["outcome"],
)
INVOICES_UNDER_WAY = Gauge(
    "invoices_under_way",
    "Invoices that wait for a process, or are rendered by one.",
    ["state"],
    multiprocess_mode="livesum",
)
#: Methods are a client's words: unknown ones share a label value.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def request_answered(method: str, route: str, status: int, seconds: float, *, streamed: bool) -> None:
    """A stream lasts as long as its client likes, which says nothing of how quick the service is."""
    method = method if method in METHODS else "OTHER"
    REQUESTS.labels(method, route, str(status)).inc()
    if not streamed:
        DURATION.labels(method, route).observe(seconds)


def spans_exported(count: int, *, sent: bool) -> None:
    SPANS.labels("sent" if sent else "lost").inc(count)


def mail_ended(kind: str, outcome: str) -> None:
    MAILS.labels(kind, outcome).inc()


def signed_in(*, good: bool) -> None:
    SIGN_INS.labels("succeeded" if good else "refused").inc()


def refreshed(outcome: Literal["rotated", "refused", "reused"]) -> None:
    REFRESHES.labels(outcome).inc()


def rate_limit_decided(policy: str, decision: str) -> None:
    RATE_LIMITS.labels(policy, decision).inc()


def sign_in_slowed(outcome: str) -> None:
    SLOWED.labels(outcome).inc()


def stream_opened(opened_by: str) -> None:
    STREAMS.labels(opened_by).inc()


def stream_ended(opened_by: str, reason: str) -> None:
    STREAMS.labels(opened_by).dec()
    STREAMS_ENDED.labels(reason).inc()


def webhook_tried(outcome: Literal["succeeded", "retried", "failed"], seconds: float) -> None:
    WEBHOOK_TRIES.labels(outcome).inc()
    WEBHOOK_DURATION.labels(outcome).observe(seconds)


def webhook_disabled(reason: Literal["gone", "failing"]) -> None:
    WEBHOOKS_DISABLED.labels(reason).inc()


def answer_replayed(route: str) -> None:
    REPLAYS.labels(route).inc()


def transaction_retried(route: str) -> None:
    RETRIES.labels(route).inc()


def invoice_ended(outcome: str) -> None:
    INVOICES.labels(outcome).inc()


def invoices_under_way(state: Literal["waiting", "rendering"]) -> AbstractContextManager[None]:
    return INVOICES_UNDER_WAY.labels(state).track_inprogress()


def wipe(folder: Path) -> None:
    """Remove what an earlier run left: its counts would be added to ours."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink(missing_ok=True)


def worker_ended(pid: int) -> None:
    """Forget the gauges of a worker that has ended; its counters stay, or they would go backwards."""
    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


def expose(port: int, host: str = "0.0.0.0") -> WSGIServer:  # noqa: S104 - scraped from outside the pod
    """Serve the sum over all workers in a thread of this process, which must not be one of them."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=os.environ[MULTIPROC_DIR])  # type: ignore[no-untyped-call]
    server, _ = start_http_server(port, addr=host, registry=registry)
    return server


def expose_own(port: int, host: str) -> None:
    """Serve those of this process alone, in a thread. A port that is taken is told, and ends nothing."""
    try:
        start_http_server(port, addr=host)
    except OSError as fault:
        log.error("metrics.not_served", port=port, reason=fault.strerror)  # noqa: TRY400 - the reason says it all
    else:
        log.info("metrics.served", port=port)
