"""Connections whose requests would be refused take turns, so that refusals leave time for what was accepted.

An accepted request comes back to the event loop several times. If each time it waited for hundreds of
refusals, it would take seconds, and the process would do a tenth of what it can.
"""

import asyncio
import time
from collections import deque
from typing import Final, Protocol

#: Refusals are sent for as long as they were not: half of the time is for the rest. So long at least, and at
#: most: an accepted request waits for that each time it comes back.
SLICE_SECONDS: Final = 0.002
LONGEST_SECONDS: Final = 0.01


class Load(Protocol):
    """How much the process has taken on."""

    @property
    def is_full(self) -> bool: ...

    @property
    def will_be_full(self) -> bool:
        """Also where all that was let in is taken on, which shows when the event loop comes round."""


class Waiting(Protocol):
    def go_on(self) -> None:
        """It is its turn."""


class Turns:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._waiting: deque[Waiting] = deque()
        self._ended = 0.0

    def wait(self, connection: Waiting) -> bool:
        """Whether it has to wait for its turn: the process is full, or others wait already."""
        if not self._waiting:
            if not self._load.will_be_full:
                return False
            asyncio.get_running_loop().call_soon(self._run)
        self._waiting.append(connection)
        return True

    def _run(self) -> None:
        # The loop's own clock stands still while it calls this.
        now = time.perf_counter()
        until = now + min(max(now - self._ended, SLICE_SECONDS), LONGEST_SECONDS)
        try:
            while self._waiting and now < until and not self._undecided:
                self._waiting.popleft().go_on()
                now = time.perf_counter()
        finally:
            self._ended = now
            if self._waiting and self._undecided:
                asyncio.get_running_loop().call_soon(self._run)
            elif self._waiting:
                asyncio.get_running_loop().call_later(SLICE_SECONDS, self._run)

    @property
    def _undecided(self) -> bool:
        """Whether one more may find a place or not. Of a burst, those that hold none must not shed others."""
        return self._load.will_be_full and not self._load.is_full
