"""The process that renders invoices: connections come in by its standard input, on each of which it reads a
document and writes a PDF file.

It yields the CPU to the processes that serve requests, holds none of the service's secrets, ends when it has
nothing to do, and with the process that started it, however that ends.
"""

import os
import pickle
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from service.invoices.document import BEGUN, FAILED, HEAD, LENGTH, RENDERED, Document
from service.invoices.pdf import render
from service.invoices.typesetting import load
from service.platform.process import end_with

Draw = Callable[[Document], bytes]

#: A tenth of the CPU time that other processes get on a busy machine: an invoice still comes in time.
NICENESS: Final = 10
#: Where memory runs out, this process goes before one that serves.
OUT_OF_MEMORY_SCORE: Final = "500"


def main(draw: Draw = render) -> None:
    parent, seconds, lifetime, idle_seconds = sys.argv[1:]
    # The service decides when it ends; Ctrl-C and a supervisor's signal reach the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Also while it is rendering.
    end_with(int(parent), signal.SIGKILL)
    lower_priority()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE)
    load()
    asked = socket.socket(fileno=sys.stdin.fileno())
    for _, connection in zip(range(int(lifetime)), connections(asked, float(idle_seconds)), strict=False):
        with connection, time_limit(float(seconds)), suppress(OSError):
            # An OSError says that the worker has left: nothing is drawn for it, and others wait.
            answer(connection, draw)


def lower_priority() -> None:
    """Below everything else that runs here. Where the kernel shares CPUs by session first (autogroup), a nice
    value counts only inside a session: then this process gets a session of its own, which is nice as a whole.
    """
    os.nice(NICENESS)
    os.setsid()
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS))


def connections(asked: socket.socket, idle_seconds: float) -> Iterator[socket.socket]:
    """One after the other, until none has come for so long."""
    waiting = select.poll()
    waiting.register(asked, select.POLLIN)
    while waiting.poll(idle_seconds * 1000):
        _, descriptors, _, _ = socket.recv_fds(asked, 1, 1)
        if not descriptors:
            return  # there is no process left that could ask
        yield socket.socket(fileno=descriptors[0])


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """The kernel ends this process after so long, whatever it is at: no handler has to be run for that."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


def answer(connection: socket.socket, draw: Draw) -> None:
    connection.sendall(BEGUN)
    with connection.makefile("rb") as given:
        body = given.read(*LENGTH.unpack(given.read(LENGTH.size)))
    document = pickle.loads(body)  # noqa: S301 - from processes of the service alone
    try:
        outcome, file = RENDERED, draw(document)
    except Exception:  # noqa: BLE001 - sent to the process that asked, which logs it
        outcome, file = FAILED, traceback.format_exc().encode()
    connection.sendall(HEAD.pack(outcome, len(file)) + file)


if __name__ == "__main__":
    main()
