"""Metrics of hashing passwords."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from service.platform.telemetry.metrics import BatchedGauge, BatchedHistogram

HASHING: Final = BatchedHistogram(
    "password_hash_duration_seconds",
    "Time to hash or to check a password, waiting for a thread included.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
WAITING: Final = BatchedGauge(
    "password_hashes_waiting", "Passwords that are being hashed or wait for a thread."
)


@contextmanager
def hashing() -> Iterator[None]:
    began = time.perf_counter()
    WAITING.value += 1
    try:
        yield
    finally:
        WAITING.value -= 1
        HASHING.observe(time.perf_counter() - began)


def begin() -> None:
    HASHING.begin()
    WAITING.begin()
