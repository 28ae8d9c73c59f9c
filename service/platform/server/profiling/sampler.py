"""Samples what the threads of this process spend CPU time on.

The kernel raises SIGPROF whenever the process has used another 10 ms of CPU time. Python runs the handler at
the next safe point of the main thread, which is where the event loop runs: at the start of a function, at the
end of a loop's round, or after a call of a function in C. What each thread has used since the last sample, by
its own CPU clock, is counted for the stack that it is on then.

A thread that wakes up every 10 ms would need the GIL to look around, and gets it when the event loop gives it
up, so that nearly every sample would show a loop that waits. Threads beside the event loop are still seen in
that way, where they run Python; those that hash passwords run C.
"""

import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from types import CodeType, FrameType
from typing import Final

#: Of CPU time.
INTERVAL_SECONDS: Final = 0.01
#: Of a deeper stack the innermost are kept.
MAX_FRAMES: Final = 250

#: The thread's name, then functions from the outermost.
Stack = tuple[str, tuple[CodeType, ...]]


class Sampler:
    """Start and stop it in the main thread. `spent` is nanoseconds by stack."""

    def __init__(self) -> None:
        self.spent = Counter[Stack]()
        self.samples = 0
        self._clocks: dict[threading.Thread, int] = {}

    def start(self) -> None:
        self._read_clocks()
        signal.signal(signal.SIGPROF, self._sample)
        # System calls that it interrupts go on.
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        # One may be on its way, and would end the process if it found no handler.
        signal.signal(signal.SIGPROF, signal.SIG_IGN)

    def _sample(self, _: int, interrupted: FrameType | None) -> None:
        self.samples += 1
        frames = sys._current_frames()  # noqa: SLF001 - documented, for debuggers and profilers
        main = threading.main_thread()
        for thread, spent in self._read_clocks().items():
            frame = interrupted if thread is main else frames.get(thread.ident or 0)
            if spent > 0 and frame is not None:
                self.spent[thread.name, _codes(frame)] += spent

    def _read_clocks(self) -> dict[threading.Thread, int]:
        """What each thread has used since the last time."""
        found = {}
        for thread in threading.enumerate():
            # It may end meanwhile.
            with suppress(OSError):
                now = _used(thread)
                found[thread] = now - self._clocks.get(thread, now)
                self._clocks[thread] = now
        return found


def _used(thread: threading.Thread) -> int:
    """Nanoseconds of CPU time. Raises OSError if the thread has ended."""
    if thread is threading.main_thread():
        # It runs this. Its `native_id` is that of the process which has forked this one.
        return time.thread_time_ns()
    # The id that Linux has for the CPU clock of a thread. The C library makes the same from a pointer to the
    # thread, which must not have ended.
    return time.clock_gettime_ns((~(thread.native_id or 0) << 3) | 6)


def _codes(frame: FrameType | None) -> tuple[CodeType, ...]:
    found: list[CodeType] = []
    while frame is not None and len(found) < MAX_FRAMES:
        found.append(frame.f_code)
        frame = frame.f_back
    return tuple(reversed(found))
