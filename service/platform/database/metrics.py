"""Metrics of the connection pool, of statements and of transactions."""

from typing import Final, Literal

from service.platform.telemetry.metrics import BatchedCounter, BatchedHistogram, unlabelled_gauge

WAIT: Final = BatchedHistogram(
    "database_pool_wait_seconds",
    "Time that a task waited for a connection from the pool.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
QUERIES: Final = BatchedHistogram(
    "database_query_duration_seconds",
    "Time of statements by their first word, failed ones included.",
    ["operation"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
TRANSACTIONS: Final = BatchedCounter(
    "database_transactions_total",
    "Transactions: committed, rolled back, or unknown because the connection was lost during COMMIT.",
    ["outcome"],
)

Outcome = Literal["committed", "rolled_back", "unknown"]


def pool_seen(in_use: int, size: int) -> None:
    """`size`: with what it may grow by."""
    unlabelled_gauge(
        "database_pool_connections_in_use", "Connections of the pool that are in use.", "livesum"
    ).set(in_use)
    unlabelled_gauge("database_pool_size", "The maximum number of connections.", "livesum").set(size)


def database_seen(*, up: bool) -> None:
    unlabelled_gauge("database_up", "Whether every process gets answers from the database.", "livemin").set(
        up
    )


def feed_seen(*, listening: bool) -> None:
    described = "Whether every process is in sync with the change feed: 1 while its lease is valid."
    unlabelled_gauge("change_feed_listening", described, "livemin").set(listening)


def begin() -> None:
    WAIT.begin()
