"""Gunicorn's settings, from ours: workers, time-outs, logging, and the metrics' child process."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from service.config import Settings
from service.observability import logging, metrics

#: Above the 60 s that ingresses keep idle connections, so that it is never us who close first.
KEEPALIVE_SECONDS: Final = 75
#: An event loop that has been blocked for so long is taken for dead, with every request on it.
HEARTBEAT_SECONDS: Final = 60
#: The metrics' process ends at once when it is told to, if at all.
LAST_SECONDS: Final = 1.0
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the kernel's, not a guess at a name

_exporters: dict[int, subprocess.Popen[bytes]] = {}


def options(settings: Settings) -> dict[str, Any]:
    """Gunicorn's settings by name."""

    def when_ready(_: Arbiter) -> None:
        # A process of its own: a thread in a process that forks may hold a lock when it forks.
        command = [sys.executable, "-m", "service.observability.exporter"]
        command += [str(settings.metrics_port), settings.host, settings.log_level, settings.log_format]
        _exporters[os.getpid()] = subprocess.Popen(command)  # noqa: S603

    def child_exit(_: Arbiter, worker: Worker) -> None:
        metrics.worker_ended(int(worker.pid))

    def on_exit(_: Arbiter) -> None:
        if exporter := _exporters.pop(os.getpid(), None):
            exporter.terminate()
            with suppress(subprocess.TimeoutExpired):
                exporter.wait(LAST_SECONDS)

    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return {
        "bind": f"{host}:{settings.port}",
        "workers": settings.web_concurrency,
        "worker_class": "service.server.Worker",
        # A worker that is ending gives no sign of life any more, and the last one may be half as old.
        "timeout": max(HEARTBEAT_SECONDS, 2 * settings.graceful_timeout),
        "graceful_timeout": settings.graceful_timeout,
        "keepalive": KEEPALIVE_SECONDS,
        # The heartbeat is a file: on a disk that stalls, a healthy worker would look dead.
        "worker_tmp_dir": str(SHARED_MEMORY) if os.access(SHARED_MEMORY, os.W_OK) else None,
        # It would be a socket under $HOME, which a read-only file system refuses at every start.
        "control_socket_disable": True,
        "logconfig_dict": logging.log_config(settings.log_level, settings.log_format),
        "proc_name": "tradepost",
        "when_ready": when_ready,
        "child_exit": child_exit,
        "on_exit": on_exit,
    }
