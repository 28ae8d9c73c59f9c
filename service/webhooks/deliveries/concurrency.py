"""How many attempts run at the same time for one webhook: a receiver that hangs must not hold up others.

A delivery that finds no free slot is marked as waiting, and queued again by the next one of its webhook that
ends. Putting its job back with a delay instead would poll: each look at the queue starts one slot's worth, so
that a burst for a quick receiver takes many looks, and the backlog of a slow one is written again and again.
"""

from collections import Counter
from typing import Final

#: In one worker, for a webhook whose last attempt succeeded quickly, and for any other.
MAX_CONCURRENCY: Final = 8
LOW_CONCURRENCY: Final = 2
QUICK_SECONDS: Final = 2.0


class ConcurrencyLimits:
    """Of one worker. No lock is needed: nothing here awaits."""

    def __init__(self) -> None:
        self._running: Counter[int] = Counter()
        self._quick: set[int] = set()
        self._with_waiting: set[int] = set()

    def free(self, webhook_id: int) -> int:
        """The number of free slots."""
        limit = MAX_CONCURRENCY if webhook_id in self._quick else LOW_CONCURRENCY
        return max(0, limit - self._running[webhook_id])

    def acquire(self, webhook_id: int) -> None:
        self._running[webhook_id] += 1

    def release(self, webhook_id: int) -> None:
        self._running[webhook_id] -= 1

    def observe(self, webhook_id: int, seconds: float, *, succeeded: bool) -> None:
        if succeeded and seconds < QUICK_SECONDS:
            self._quick.add(webhook_id)
        else:
            self._quick.discard(webhook_id)

    def add_waiting(self, webhook_id: int) -> None:
        """Deliveries of this webhook wait for a free slot."""
        self._with_waiting.add(webhook_id)

    def take_waiting(self, webhook_id: int) -> bool:
        """Whether deliveries wait; the caller queues them. Later ones call `add_waiting` again."""
        waiting = webhook_id in self._with_waiting
        self._with_waiting.discard(webhook_id)
        return waiting
