"""Serves the metrics of all workers, as a child process of the Gunicorn master that ends with it.

It also sends them to a collector, where this is on: it is the one process that sees them all.
"""

import os
import signal
import time
from functools import partial
from typing import Final

import structlog

from service import __version__
from service.platform.config import Settings
from service.platform.process import Fork, end_with
from service.platform.telemetry import logging
from service.platform.telemetry import metric_files as files

log = structlog.get_logger(__name__)

#: Between two starts.
RESTART_SECONDS: Final = 10.0
#: It ends at once on SIGTERM; if it does not, waiting longer does not help.
STOP_SECONDS: Final = 1.0


class Exporter:
    """A process of its own: a thread in a process that forks may hold a lock when it forks. A fork, which has
    the modules of its parent in memory that both share.
    """

    def __init__(self, settings: Settings) -> None:
        given = (settings.metrics_port, settings.host, settings.log_level, settings.log_format)
        collector, name = settings.metrics_endpoint, settings.otel_service_name
        self._main = partial(main, os.getpid(), *given, push_to=collector, name=name)
        self._process: Fork | None = None
        self._next_start = 0.0

    def look_after(self) -> None:
        if (self._process is None or not self._process.is_alive) and time.monotonic() >= self._next_start:
            self._next_start = time.monotonic() + RESTART_SECONDS
            self._process = Fork("metrics", self._main)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate(STOP_SECONDS)


def main(
    master: int,
    port: int,
    host: str,
    level: str,
    log_format: str,
    *,
    push_to: str | None = None,
    name: str = "tradepost",
) -> int:
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
    pushing = files.push(push_to, name, __version__, master=master)
    if pushing is not None:
        # The workers have ended before this process gets it, so the last export has all they have counted.
        signal.signal(signal.SIGTERM, lambda *_: pushing.shutdown())
    signal.pause()
    return 0
