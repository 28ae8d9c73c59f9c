"""The definition of a kind of job. service/container/worker.py lists all kinds."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which one this is: from 1 to `most`, those that a worker did not survive included."""

    payload: Mapping[str, Any]
    number: int
    most: int

    @property
    def last(self) -> bool:
        return self.number >= self.most


#: Does the job, or raises: then it is tried again, until its attempts are used up.
Handler = Callable[[Attempt], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class JobKind:
    handler: Handler
    #: At the same time in one worker.
    at_once: int = 4
    #: Over how many attempts it fails for good, and the longest pause between two in seconds.
    attempts: int = 12
    longest_pause: float = 3600.0
    #: An attempt that takes longer is ended, and counts as failed.
    seconds: float = 60.0
    #: Enqueued by the clock, once in this period however many workers there are.
    every: timedelta | None = None
