"""Metrics of requests, of the response cache, of rate limits and of what HTTP does again."""

from service.platform.telemetry.metrics import (
    BatchedCounter,
    BatchedGauge,
    BatchedHistogram,
    Counter,
    unlabelled_counter,
)

REQUESTS = BatchedCounter(
    "http_requests_total",
    "HTTP requests, by method, route template and status.",
    ["method", "route", "status"],
)
DURATION = BatchedHistogram(
    "http_request_duration_seconds",
    "Time from the first byte of the request to the last byte of the response.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0),
)
SIZES = (256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304)
RECEIVED = BatchedHistogram("http_request_size_bytes", "Size of request bodies.", ["route"], buckets=SIZES)
SENT = BatchedHistogram("http_response_size_bytes", "Size of response bodies.", ["route"], buckets=SIZES)
IN_PROGRESS = BatchedGauge(
    "http_requests_in_progress",
    "Requests that are being processed, without those whose body is still coming or whose response is read.",
)
RATE_LIMITS = BatchedCounter(
    "rate_limit_decisions_total",
    "Requests under a rate limit: allowed, refused, or allowed because the counters' store has failed.",
    ["policy", "decision"],
)
REPLAYS = Counter("idempotent_replays_total", "Requests sent again with the same Idempotency-Key.", ["route"])
RETRIES = Counter(
    "database_transactions_retried_total",
    "Requests run again after a deadlock or a serialisation failure.",
    ["route"],
)
CACHE_REQUESTS = BatchedCounter(
    "response_cache_requests_total",
    "Public reads by outcome: hit, miss, or bypass (a caller who may see more, a client that wants no cache,"
    " or the change feed is not receiving).",
    ["outcome"],
)
CACHE_INVALIDATIONS = BatchedCounter(
    "response_cache_invalidations_total",
    "Cached responses that were invalidated, by what had changed; all of them when the feed restarts.",
    ["of"],
)
CACHE_ENTRIES = BatchedGauge("response_cache_entries", "Responses in the response cache.")
CACHE_BYTES = BatchedGauge(
    "response_cache_bytes", "The approximate size of the responses in the response cache."
)


def requests_shed() -> Counter:
    return unlabelled_counter(
        "requests_shed_total", "Requests refused at once because the process is overloaded."
    )


def begin() -> None:
    """What counts from zero: without it the first of something is no increase to Prometheus."""
    IN_PROGRESS.begin()
    requests_shed()
    for outcome in ("hit", "miss", "bypass"):
        CACHE_REQUESTS.metric.labels(outcome)
    for table in ("items", "posts", "everything"):
        CACHE_INVALIDATIONS.metric.labels(table)
    CACHE_ENTRIES.begin()
    CACHE_BYTES.begin()
