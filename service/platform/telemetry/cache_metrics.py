"""Metrics of the answers that are kept in memory."""

from typing import Final

from service.platform.telemetry import batches as tally

REQUESTS: Final = tally.Count(
    "response_cache_requests_total",
    "Public reads: answered from memory, read and kept, or past it (signed in, or changes are not heard).",
    ["outcome"],
)
INVALIDATIONS: Final = tally.Count(
    "response_cache_invalidations_total",
    "Kept answers that were dropped, by what had changed; everything is when listening begins anew.",
    ["of"],
)
ENTRIES: Final = tally.Level("response_cache_entries", "Answers kept in memory.")
BYTES: Final = tally.Level("response_cache_bytes", "What the answers kept in memory take, about.")


def begin() -> None:
    """From zero: without it the first of something is no increase to whoever watches."""
    for outcome in ("hit", "miss", "bypass"):
        REQUESTS.metric.labels(outcome)
    for table in ("items", "posts", "everything"):
        INVALIDATIONS.metric.labels(table)
    ENTRIES.begin()
    BYTES.begin()
