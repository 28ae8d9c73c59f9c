"""`tradepost serve` whose master takes a worker for dead after some seconds."""

import os
import sys

# As `service.__main__` does it, before anything that counts is imported.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.path.abspath("data/metrics")  # noqa: PTH100

from service import gunicorn_conf
from service.__main__ import main

whole = gunicorn_conf.options
gunicorn_conf.options = lambda settings: whole(settings) | {"timeout": 8}

if __name__ == "__main__":
    sys.exit(main(["serve"]))
