"""Prometheus metrics. Labels are bounded: a route's template, never a path, a user or an id.

Those of orders are in `business`, of the database, of the process, of jobs and of calls to others in
modules of their own.
"""

from contextlib import AbstractContextManager
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram

from service.platform.telemetry import batches as tally
from service.platform.telemetry import business, cache_metrics, lazy

REQUESTS = tally.Count("http_requests_total", "HTTP requests answered.", ["method", "route", "status"])
DURATION = tally.Distribution(
    "http_request_duration_seconds",
    "From the request's first byte to the answer's last, in seconds.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0),
)
SIZES = (256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304)
RECEIVED = tally.Distribution(
    "http_request_size_bytes", "Of the bodies of requests that have one.", ["route"], buckets=SIZES
)
SENT = tally.Distribution("http_response_size_bytes", "Of the bodies of answers.", ["route"], buckets=SIZES)
IN_PROGRESS = tally.Level(
    "http_requests_in_progress", "Requests that are being worked on; open streams are not."
)
SPANS = Counter(
    "trace_spans_total",
    "Spans: sent to the collector, lost because it did not take them, or dropped because too many waited.",
    ["outcome"],
)
MAILS = Counter("mails_total", "Mails, by what they are about and what became of them.", ["kind", "outcome"])
SIGN_INS = Counter("sign_ins_total", "Sign-ins with a password.", ["outcome"])
REFRESHES = Counter(
    "token_refreshes_total", "Uses of refresh tokens; reused is theft, which ends the session.", ["outcome"]
)
RATE_LIMITS = tally.Count(
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


def request_answered(
    method: str, route: str, status: int, seconds: float, *, received: int, sent: int, streamed: bool
) -> None:
    """A stream lasts as long as its client likes, which says nothing of how quick the service is."""
    method = method if method in METHODS else "OTHER"
    REQUESTS.add(method, route, str(status))
    if received:
        RECEIVED.observe(received, route)
    if not streamed:
        DURATION.observe(seconds, method, route)
        SENT.observe(sent, route)


def requests_shed() -> Counter:
    return lazy.counter("requests_shed_total", "Requests refused at once, for the process has its fill.")


def begin(currency: str) -> None:
    """What counts from zero: without it the first of something is no increase to whoever watches."""
    IN_PROGRESS.begin()
    requests_shed()
    for outcome in ("succeeded", "refused"):
        SIGN_INS.labels(outcome)
    for outcome in ("rotated", "refused", "reused"):
        REFRESHES.labels(outcome)
    business.begin(currency)
    cache_metrics.begin()
    begin_tracing()


def begin_tracing() -> None:
    for outcome in ("sent", "lost", "dropped"):
        SPANS.labels(outcome)


def spans_ended(count: int, outcome: Literal["sent", "lost", "dropped"]) -> None:
    SPANS.labels(outcome).inc(count)


def mail_ended(kind: str, outcome: str) -> None:
    MAILS.labels(kind, outcome).inc()


def signed_in(*, good: bool) -> None:
    SIGN_INS.labels("succeeded" if good else "refused").inc()


def refreshed(outcome: Literal["rotated", "refused", "reused"]) -> None:
    REFRESHES.labels(outcome).inc()


def rate_limit_decided(policy: str, decision: str) -> None:
    RATE_LIMITS.add(policy, decision)


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
