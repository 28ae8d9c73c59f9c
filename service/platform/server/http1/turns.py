"""Connections whose requests would be refused take turns, so that refusals leave time for what was accepted.

An accepted request comes back to the event loop several times. If each time it waited for hundreds of
refusals, it would take seconds, and the process would do a tenth of what it can.
"""

import asyncio
import time
from collections import deque
from typing import Final, Protocol

#: Refusals are sent for so long, and then not for as long.
SLICE_SECONDS: Final = 0.002


class Load(Protocol):
    """How much the process has taken on."""

    @property
    def will_be_full(self) -> bool: ...


class Waiting(Protocol):
    def go_on(self) -> None:
        """It is its turn."""


class Turns:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._waiting: deque[Waiting] = deque()

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
        until = time.perf_counter() + SLICE_SECONDS
        while self._waiting and time.perf_counter() < until:
            self._waiting.popleft().go_on()
        if self._waiting:
            asyncio.get_running_loop().call_later(SLICE_SECONDS, self._run)
