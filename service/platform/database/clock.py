"""The database's time in a process, whatever the machine's clock says."""

import time


class DatabaseClock:
    """Seconds since 1970 by the database's clock.

    The change feed learns them with each renewal of its lease, and the monotonic clock carries them on. The
    machine's clock counts only until the database has answered once: it may be wrong, it differs between
    pods, and a step of it would end tokens, or make them last, and with them accesses that have ended.
    """

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def set(self, now: float, *, at: float) -> None:
        """`now` was the database's time when the monotonic clock said `at`."""
        self._ahead = now - at
