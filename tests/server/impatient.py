"""`tradepost serve` whose master takes a worker for dead after some seconds, while there is a file HURRY."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # As `service.__main__` does it, before anything that counts is imported.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.path.abspath("data/metrics")  # noqa: PTH100

from service.__main__ import main
from service.platform.server import gunicorn_conf

HURRY = "hurry"
SECONDS = 2


class Master(gunicorn_conf.Master):
    def murder_workers(self) -> None:
        # Not before the worker is up: a slow machine takes longer than that to start one.
        self.timeout = SECONDS if Path(HURRY).exists() else self.cfg.timeout
        super().murder_workers()


if __name__ == "__main__":
    vars(gunicorn_conf).update(Master=Master)
    sys.exit(main(["serve"]))
