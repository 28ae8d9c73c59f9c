"""What Python has no words for: child processes that end with their parent, even if the parent is killed, and
memory that goes back to the kernel.

The parent passes its process id on: once it has ended, `getppid` names another process, which has adopted
the child.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Final

#: Set for a worker that runs beside the service in development: the id of its parent process. The service
#: exports the metrics of both.
COMPANION_OF: Final = "TRADEPOST_COMPANION_OF"

PR_SET_PDEATHSIG: Final = 1
M_ARENA_MAX: Final = -8
POLL_SECONDS: Final = 0.3


def use_one_heap() -> None:
    """Have malloc serve all threads from one heap. A thread's own would keep what is freed at its end: 19 MiB
    of one that hashes passwords.
    """
    _call("mallopt", M_ARENA_MAX, 1)


def release_free_memory() -> None:
    """Give what malloc has free back to the kernel. It takes about a millisecond."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    """A function of the C library, where it is glibc."""
    if sys.platform == "linux":
        with suppress(AttributeError):
            getattr(ctypes.CDLL(None), name)(*arguments)


def is_orphan(parent: int) -> bool:
    return os.getppid() != parent


def end_with(parent: int, ending: signal.Signals) -> None:
    """Have this process sent a signal when its parent ends. Raises SystemExit if it has ended already.

    Linux ties it to the thread of the parent that has started this process: start it from the main thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ending, 0, 0, 0)
    else:
        threading.Thread(target=_poll, args=(parent, ending), daemon=True).start()
    if is_orphan(parent):
        sys.exit()


def _poll(parent: int, ending: signal.Signals) -> None:
    while not is_orphan(parent):
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), ending)
