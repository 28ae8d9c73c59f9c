"""Runs a worker beside the service in development: restarts it when it ends, and stops it with the service.

`serve` and `dev` start this module as a process of its own, which supervises the worker: Gunicorn's master
must have no threads, and reaps every child by itself.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import structlog

import service
from service.platform.config import Settings
from service.platform.process import COMPANION_OF, end_with
from service.platform.telemetry import logging
from service.platform.telemetry import metric_files as files

#: Run as a program, this module would be called `__main__`.
log = structlog.get_logger("service.dev.worker_supervisor")

RELOAD: Final = "reload"
POLL_SECONDS: Final = 0.3
#: Before a worker that has ended by itself is started again.
RESTART_SECONDS: Final = 1.0
#: Added to the graceful time-out of the worker.
EXTRA_STOP_SECONDS: Final = 5.0


@contextmanager
def started(settings: Settings, *, reload: bool = False) -> Iterator[None]:
    """A worker for as long as this runs."""
    assert settings.database_url is not None  # noqa: S101 - the embedded one, if no other
    owner = os.getpid()
    command = [sys.executable, "-m", __name__, str(owner), str(settings.graceful_timeout)]
    command += [settings.log_level, settings.log_format, *([RELOAD] if reload else [])]
    environment = {**os.environ, "DATABASE_URL": settings.database_url.get_secret_value()}
    if settings.database_direct_url is not None:
        environment["DATABASE_DIRECT_URL"] = settings.database_direct_url.get_secret_value()
    supervisor = subprocess.Popen(command, env=environment)  # noqa: S603 - this very program
    try:
        yield
    finally:
        # Gunicorn's workers are forks of this process, and must not stop the supervisor.
        if os.getpid() == owner:
            supervisor.terminate()
            with suppress(subprocess.TimeoutExpired):
                supervisor.wait(settings.graceful_timeout + 2 * EXTRA_STOP_SECONDS)


class Supervisor:
    """Keeps a worker running. `patience` is how long it may take to end."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._stopping = False
        self._worker: subprocess.Popen[bytes] | None = None
        self._next_start = 0.0

    def stop(self, *_: object) -> None:
        self._stopping = True

    def run(self, ticks: Iterator[bool]) -> None:
        """At each tick start the worker if it does not run; restart it if the tick is True."""
        try:
            for changed in ticks:
                if self._stopping:
                    break
                if changed:
                    self._end_worker()
                self._start_worker()
        finally:
            self._end_worker()

    def _start_worker(self) -> None:
        if self._worker is not None and (status := self._worker.poll()) is not None:
            log.error("worker.lost", status=status)
            files.worker_ended(self._worker.pid)
            self._worker, self._next_start = None, time.monotonic() + RESTART_SECONDS
        if self._worker is None and time.monotonic() >= self._next_start:
            environment = {**os.environ, COMPANION_OF: str(os.getpid())}
            command = [sys.executable, "-m", "service", "worker"]
            self._worker = subprocess.Popen(command, env=environment)  # noqa: S603 - this very program

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.terminate()
            try:
                self._worker.wait(self._patience)
            except subprocess.TimeoutExpired:
                self._worker.kill()
                self._worker.wait()
            self._worker = None


def _ticks() -> Iterator[bool]:
    while True:
        yield False
        time.sleep(POLL_SECONDS)


def _changes() -> Iterator[bool]:
    """True when the code has changed."""
    from watchfiles import PythonFilter, watch

    yield False
    folder = Path(service.__file__).parent
    pause = int(POLL_SECONDS * 1000)
    for changes in watch(
        folder,
        watch_filter=PythonFilter(),
        rust_timeout=pause,
        yield_on_timeout=True,
        raise_interrupt=False,
    ):
        yield bool(changes)


def main(parent: str, graceful: str, level: str, log_format: str, *options: str) -> int:
    logging.configure(level, log_format)
    supervisor = Supervisor(float(graceful) + EXTRA_STOP_SECONDS)
    # These signals reach the whole process group; the service decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, supervisor.stop)
    end_with(int(parent), signal.SIGTERM)
    supervisor.run(_changes() if RELOAD in options else _ticks())
    return 0


if __name__ == "__main__":
    logging.log_crashes()
    sys.exit(main(*sys.argv[1:]))
