"""Gunicorn's settings, from ours: workers, time-outs, logging; and its master, which keeps the metrics."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.workers.base import Worker

from service.platform.config import Settings
from service.platform.database import change_feed as changes
from service.platform.telemetry import logging, runtime
from service.platform.telemetry import metric_files as files

#: Above the 60 s that ingresses keep idle connections, so that it is never us who close first.
KEEPALIVE_SECONDS: Final = 75
#: An event loop that has been blocked for so long is taken for dead, with every request on it.
HEARTBEAT_SECONDS: Final = 60
#: The metrics' process ends at once when it gets the signal, if at all.
LAST_SECONDS: Final = 1.0
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the kernel's, not a guess at a name

#: Before the metrics' process is started again.
AGAIN_SECONDS: Final = 10.0
#: Look at a child that has ended, without reaping it: the code that waits for it still gets its status.
PEEK: Final = os.WEXITED | os.WNOHANG | os.WNOWAIT


class Master(Arbiter):
    """Gunicorn's, which also counts how its workers end, and sees to it that metrics are served."""

    def __init__(self, app: BaseApplication, settings: Settings) -> None:
        # A process of its own: a thread in a process that forks may hold a lock when it forks.
        self._command = [sys.executable, "-m", "service.platform.server.metrics_exporter", str(os.getpid())]
        self._command += [str(settings.metrics_port), settings.host, settings.log_level, settings.log_format]
        self._exporter: subprocess.Popen[bytes] | None = None
        self._not_before = 0.0
        self._stopping = False
        super().__init__(app)

    def manage_workers(self) -> None:
        super().manage_workers()
        if self._exporter is None or self._exporter.poll() is not None:
            self._serve_metrics()

    def reap_workers(self) -> None:
        """Gunicorn tells its hook who has ended, and not how."""
        for pid, worker in list(self.WORKERS.items()):
            with suppress(ChildProcessError):
                if (end := os.waitid(os.P_PID, pid, PEEK)) is not None:
                    runtime.worker_ended(_reason(end, timed_out=worker.aborted))
        try:
            super().reap_workers()
        except HaltServer:
            # Of a second worker that cannot start, while the first ends the master: no code would catch
            # it, and the master would leave without its hooks, so that the exporter stays behind.
            if not self._stopping:
                raise

    def stop(self, graceful: bool = True) -> None:
        self._stopping = True
        super().stop(graceful)

    def end_exporter(self) -> None:
        if self._exporter is not None:
            self._exporter.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._exporter.wait(LAST_SECONDS)

    def _serve_metrics(self) -> None:
        if time.monotonic() >= self._not_before:
            self._not_before = time.monotonic() + AGAIN_SECONDS
            self._exporter = subprocess.Popen(self._command)  # noqa: S603 - this very program


def _reason(end: os.waitid_result, *, timed_out: bool) -> str:
    if timed_out:
        return "timeout"
    if end.si_code != os.CLD_EXITED:
        return "signal"
    return "error" if end.si_status else "normal"


def options(settings: Settings) -> dict[str, Any]:
    """Gunicorn's settings by name."""

    def when_ready(_: Arbiter) -> None:
        runtime.master_began()

    def pre_fork(_: Arbiter, worker: Worker) -> None:
        changes.set_worker_number(worker.age)
        runtime.workers_started().inc()

    def post_worker_init(_: Worker) -> None:
        runtime.worker_ready()

    def child_exit(_: Arbiter, worker: Worker) -> None:
        files.worker_ended(int(worker.pid))

    def on_exit(master: Master) -> None:
        master.end_exporter()

    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return {
        "bind": f"{host}:{settings.port}",
        "workers": settings.web_concurrency,
        "worker_class": "service.platform.server.uvicorn_worker.Worker",
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
        "pre_fork": pre_fork,
        "post_worker_init": post_worker_init,
        "child_exit": child_exit,
        "on_exit": on_exit,
    }
