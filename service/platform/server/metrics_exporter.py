"""Serves the metrics of all workers, as a child process of the Gunicorn master that ends with it.

It also sends them to a collector, where this is on: it is the one process that sees them all.
"""

import os
import signal
import sys
from typing import Final

import structlog

from service import __version__
from service.platform.process import end_with
from service.platform.telemetry import logging
from service.platform.telemetry import metric_files as files

#: Run as a program, this module would be called `__main__`.
log = structlog.get_logger("service.platform.server.metrics_exporter")

#: In the environment: an address may hold a key, and arguments are seen by everyone on the machine.
PUSH_TO: Final = "TRADEPOST_METRICS_PUSH_TO"


def main(master: int, port: int, host: str, level: str, log_format: str) -> int:
    logging.configure(level, log_format)
    # These signals reach the whole process group; the master decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_with(master, signal.SIGTERM)
    try:
        files.expose(port, host, master=master)
    except OSError as fault:
        log.error("metrics.not_served", port=port, reason=fault.strerror)  # noqa: TRY400 - the reason says it all
        return 1
    log.info("metrics.served", port=port)
    name = os.environ.get("OTEL_SERVICE_NAME", "tradepost")
    pushing = files.push(os.environ.get(PUSH_TO), name, __version__, master=master)
    if pushing is not None:
        # The workers have ended before this process gets it, so the last export has all they have counted.
        signal.signal(signal.SIGTERM, lambda *_: pushing.shutdown())
    signal.pause()
    return 0


if __name__ == "__main__":
    logging.log_crashes()
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
