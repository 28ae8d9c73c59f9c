"""Serves the metrics of all workers: a child process of the Gunicorn master, ending with it."""

import os
import signal
import sys
import time
from typing import Final

import structlog

from service.platform.telemetry import logging
from service.platform.telemetry import metric_files as files

#: As a program its name would be `__main__`.
log = structlog.get_logger("service.platform.server.metrics_exporter")

POLL_SECONDS: Final = 0.5


def main(master: int, port: int, host: str, level: str, log_format: str) -> int:
    logging.configure(level, log_format)
    # These reach the whole process group; it is the master that says when to go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        files.expose(port, host, master=master)
    except OSError as fault:
        log.error("metrics.not_served", port=port, reason=fault.strerror)  # noqa: TRY400 - the reason says it all
        return 1
    log.info("metrics.served", port=port)
    # The parent that it finds may be who has taken it over from a master that was killed meanwhile.
    while os.getppid() == master:
        time.sleep(POLL_SECONDS)
    return 0


if __name__ == "__main__":
    logging.tell_of_crashes()
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
