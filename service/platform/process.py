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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

#: Set for a worker that runs beside the service in development: the id of its parent process. The service
#: exports the metrics of both.
COMPANION_OF: Final = "TRADEPOST_COMPANION_OF"

PR_SET_PDEATHSIG: Final = 1
PR_SET_NAME: Final = 15
M_ARENA_MAX: Final = -8
POLL_SECONDS: Final = 0.3
#: The last of the standard descriptors.
STANDARD: Final = 2
FORK_POLL_SECONDS: Final = 0.01


def use_one_heap() -> None:
    """Have malloc serve all threads from one heap. A thread's own would keep what is freed at its end: 19 MiB
    of one that hashes passwords.
    """
    _call("mallopt", M_ARENA_MAX, 1)


def release_free_memory() -> None:
    """Give what malloc has free back to the kernel. It takes about a millisecond."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int | bytes) -> None:
    """A function of the C library, where it is glibc."""
    if sys.platform == "linux":
        with suppress(AttributeError):
            getattr(ctypes.CDLL(None), name)(*arguments)


class Fork:
    """A child that runs `main` in what this process has imported and made, whose memory it shares.

    Nothing is left that two processes must not share: of descriptors only the standard ones, and signals are
    as they are at the start of a program.
    """

    def __init__(self, name: str, main: Callable[[], int]) -> None:
        sys.stdout.flush()
        self.pid = os.fork()
        self._ended = False
        if self.pid == 0:
            _be_a_child(name, main)

    @property
    def is_alive(self) -> bool:
        if not self._ended:
            try:
                self._ended = os.waitpid(self.pid, os.WNOHANG) != (0, 0)
            except ChildProcessError:
                self._ended = True  # and its end was seen by what waits for any child
        return not self._ended

    def terminate(self, patience: float) -> None:
        """Wait for so long that it has ended."""
        deadline = time.monotonic() + patience
        if self.is_alive:
            os.kill(self.pid, signal.SIGTERM)
        while self.is_alive and time.monotonic() < deadline:
            time.sleep(FORK_POLL_SECONDS)


def _be_a_child(name: str, main: Callable[[], int]) -> NoReturn:
    """Whatever happens, this does not return to what its parent was doing."""
    status = 1
    try:
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        _give_up_descriptors()
        _call("prctl", PR_SET_NAME, name.encode(), 0, 0, 0)
        status = main()
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - it ends this process
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _give_up_descriptors() -> None:
    """All but the standard ones lead to nothing. Their numbers stay taken: an object of the parent that is
    closed later on, such as a metrics' file, would close what has its number by then.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in [int(each.name) for each in Path("/dev/fd").iterdir()]:
        if number > STANDARD and number != nothing:
            with suppress(OSError):
                os.fstat(number)  # the one that has read the folder is closed by now
                os.dup2(nothing, number, inheritable=False)


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
