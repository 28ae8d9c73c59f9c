"""Gunicorn's settings, made from the service's; and its master, which has children beside the workers."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.workers.base import Worker

from service.platform.config import Settings
from service.platform.database import change_feed as changes
from service.platform.server.profiling.place import remove as remove_socket
from service.platform.telemetry import logging, runtime
from service.platform.telemetry import metric_files as files

#: Longer than the 60 s for which ingresses keep idle connections, so that the ingress closes first.
KEEPALIVE_SECONDS: Final = 75
#: Gunicorn kills a worker whose event loop has been blocked for so long, with every request on it.
HEARTBEAT_SECONDS: Final = 60
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the kernel's, not a guess at a name
#: Options for `waitid` to read a child's status without reaping it: Gunicorn, which waits for it, still gets
#: it.
WAIT_WITHOUT_REAPING: Final = os.WEXITED | os.WNOHANG | os.WNOWAIT


class Child(Protocol):
    """A process beside the workers."""

    def look_after(self) -> None:
        """Start it where that is due. Called once a second, and for each SIGCHLD."""

    def stop(self) -> None: ...


class Master(Arbiter):
    """Gunicorn's master, which also counts how its workers end, and looks after other children."""

    def __init__(self, app: BaseApplication, children: Sequence[Child]) -> None:
        self._children = children
        self._stopping = False
        super().__init__(app)

    def manage_workers(self) -> None:
        super().manage_workers()
        self._look_after_children()

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
            # raised, the master would exit without its hooks, and the other children would stay.
            if not self._stopping:
                raise
        # Here too: while it stops or reloads, the master does nothing else.
        self._look_after_children()

    def stop(self, graceful: bool = True) -> None:
        self._stopping = True
        super().stop(graceful)

    def stop_children(self) -> None:
        for child in self._children:
            child.stop()

    def _look_after_children(self) -> None:
        for child in self._children:
            child.look_after()


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
        master.stop_children()

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
