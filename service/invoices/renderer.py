"""The process that renders invoices: documents come in by its standard input, PDF files go out.

It yields the CPU to the processes that serve requests, holds none of the service's secrets, and ends with
the process that started it, however that ends.
"""

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from service.invoices.document import FAILED, HEAD, LENGTH, RENDERED, Document
from service.invoices.pdf import render
from service.invoices.typesetting import load
from service.platform.process import end_with

Draw = Callable[[Document], bytes]

#: A tenth of the CPU time that other processes get on a busy machine: an invoice still comes in time.
NICENESS: Final = 10
#: Where memory runs out, this process goes before one that serves.
OUT_OF_MEMORY_SCORE: Final = "500"


def main(draw: Draw = render) -> None:
    parent = int(sys.argv[1])
    # The service decides when it ends; Ctrl-C and a supervisor's signal reach the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Also while it is rendering.
    end_with(parent, signal.SIGKILL)
    lower_priority()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE)
    # What anything else prints would be taken for an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    load()
    serve(draw, sys.stdin.buffer, answers)


def lower_priority() -> None:
    """Below everything else that runs here. Where the kernel shares CPUs by session first (autogroup), a nice
    value counts only inside a session: then this process gets a session of its own, which is nice as a whole.
    """
    os.nice(NICENESS)
    os.setsid()
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS))


def serve(draw: Draw, documents: BinaryIO, answers: BinaryIO) -> None:
    """Answer until there are no more documents."""
    while head := documents.read(LENGTH.size):
        document = pickle.loads(documents.read(*LENGTH.unpack(head)))  # noqa: S301 - from the parent alone
        try:
            outcome, body = RENDERED, draw(document)
        except Exception:  # noqa: BLE001 - sent to the parent, which logs it
            outcome, body = FAILED, traceback.format_exc().encode()
        answers.write(HEAD.pack(outcome, len(body)) + body)
        answers.flush()


if __name__ == "__main__":
    main()
