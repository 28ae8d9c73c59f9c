"""Gunicorn's settings, made from the service's; and its master, which runs the metrics exporter."""

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
from service.platform.server.metrics_exporter import PUSH_TO
from service.platform.server.profiling.place import remove as remove_socket
from service.platform.telemetry import logging, runtime
from service.platform.telemetry import metric_files as files

#: Longer than the 60 s for which ingresses keep idle connections, so that the ingress closes first.
KEEPALIVE_SECONDS: Final = 75
#: Gunicorn kills a worker whose event loop has been blocked for so long, with every request on it.
HEARTBEAT_SECONDS: Final = 60
#: The exporter ends at once on SIGTERM; if it does not, waiting longer does not help.
EXPORTER_STOP_SECONDS: Final = 1.0
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the kernel's, not a guess at a name

#: Before the exporter is started again.
EXPORTER_RESTART_SECONDS: Final = 10.0
#: Options for `waitid` to read a child's status without reaping it: Gunicorn, which waits for it, still gets
#: it.
WAIT_WITHOUT_REAPING: Final = os.WEXITED | os.WNOHANG | os.WNOWAIT


class Master(Arbiter):
    """Gunicorn's master, which also counts how its workers end, and keeps the metrics exporter running."""

    def __init__(self, app: BaseApplication, settings: Settings) -> None:
        # A process of its own: a thread in a process that forks may hold a lock when it forks.
        self._command = [sys.executable, "-m", "service.platform.server.metrics_exporter", str(os.getpid())]
        self._command += [str(settings.metrics_port), settings.host, settings.log_level, settings.log_format]
        self._environment = dict(os.environ)
        if settings.metrics_endpoint is not None:
            of_push = {PUSH_TO: settings.metrics_endpoint, "OTEL_SERVICE_NAME": settings.otel_service_name}
            self._environment |= of_push
        self._exporter: subprocess.Popen[bytes] | None = None
        self._next_start = 0.0
        self._stopping = False
        super().__init__(app)

    def manage_workers(self) -> None:
        super().manage_workers()
        if self._exporter is None or self._exporter.poll() is not None:
            self._start_exporter()

    def reap_workers(self) -> None:
        """Count how each worker ended: Gunicorn's hook does not get the status."""
        for pid, worker in list(self.WORKERS.items()):
            with suppress(ChildProcessError):
                if (end := os.waitid(os.P_PID, pid, WAIT_WITHOUT_REAPING)) is not None:
                    runtime.worker_ended(_reason(end, timed_out=worker.aborted))
        try:
            super().reap_workers()
        except HaltServer:
            # A second worker cannot start, while the first one has the master stop already. If this were
            # raised, the master would exit without its hooks, and the exporter would stay.
            if not self._stopping:
                raise

    def stop(self, graceful: bool = True) -> None:
        self._stopping = True
        super().stop(graceful)

    def stop_exporter(self) -> None:
        if self._exporter is not None:
            self._exporter.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._exporter.wait(EXPORTER_STOP_SECONDS)

    def _start_exporter(self) -> None:
        if time.monotonic() >= self._next_start:
            self._next_start = time.monotonic() + EXPORTER_RESTART_SECONDS
            self._exporter = subprocess.Popen(self._command, env=self._environment)  # noqa: S603 - this very program


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
        # A worker that was killed has left it.
        remove_socket(settings.port, int(worker.pid))

    def on_exit(master: Master) -> None:
        master.stop_exporter()

    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return {
        "bind": f"{host}:{settings.port}",
        "workers": settings.web_concurrency,
        "worker_class": "service.platform.server.uvicorn_worker.Worker",
        # A worker that is ending sends no heartbeats, and its last one may be half as old.
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
