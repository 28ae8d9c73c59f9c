"""How often a fault that lasts is logged: at first, and then every few minutes."""

import time
from collections.abc import Mapping
from typing import Final

#: Between two lines of the same cause.
REPEAT_SECONDS: Final = 300.0


def is_due(logged: Mapping[str, float], cause: str, now: float) -> bool:
    """Whether to log the cause now: it was not logged yet, or some minutes ago, by `time.monotonic`."""
    return now - logged.get(cause, -REPEAT_SECONDS) >= REPEAT_SECONDS


class Repeats:
    """The causes of an outage that have been logged. An outage would otherwise fill the log."""

    def __init__(self) -> None:
        self._logged: dict[str, float] = {}

    def is_due(self, cause: str) -> bool:
        """Whether to log the cause now, which is noted then."""
        now = time.monotonic()
        due = is_due(self._logged, cause, now)
        if due:
            self._logged[cause] = now
        return due

    def end(self) -> None:
        """The outage is over: the next one is logged at once."""
        self._logged.clear()
