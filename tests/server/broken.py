"""The service whose workers cannot load the application."""

import sys
import time
from typing import Any

from service.__main__ import main


def broken(*_: object) -> Any:
    # All of them at once: the others end while the master already does, because of the first.
    time.sleep(-time.time() % 1)
    raise RuntimeError("it cannot be loaded")


if __name__ == "__main__":
    from service.cli import serve

    vars(serve).update(assemble=broken)
    sys.exit(main(["serve"]))
