"""A process that renders, but for buyers of these names: they make it do what a fault would."""

import json
import os
import signal
import time

from service.invoices import pdf
from service.invoices.document import Document
from service.invoices.renderer import main

DIE, HANG, FAIL, TELL = "dies", "hangs", "fails", "tells"


def render(document: Document) -> bytes:
    if document.buyer == DIE:
        os.kill(os.getpid(), signal.SIGKILL)
    if document.buyer == HANG:
        print("It hangs.", flush=True)  # noqa: T201 - see below
        while True:
            time.sleep(0.01)
    if document.buyer == FAIL:
        raise ZeroDivisionError("no such page")
    if document.buyer == TELL:
        print("This is no answer.", flush=True)  # noqa: T201 - what a library might do
        told = {"pid": os.getpid(), "nice": os.nice(0), "environment": sorted(os.environ)}
        return json.dumps(told).encode()
    return pdf.render(document)


if __name__ == "__main__":
    main(render)
