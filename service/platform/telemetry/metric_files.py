"""The files in which processes store their metrics, and the endpoint that serves them."""

import os
from collections.abc import Iterable
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import CollectorRegistry, Metric, ProcessCollector, multiprocess, start_http_server
from prometheus_client.registry import Collector

log = structlog.get_logger(__name__)

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"


def wipe(folder: Path) -> None:
    """Remove the files of an earlier run: its counts would be added to those of this one."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink(missing_ok=True)


def worker_ended(pid: int) -> None:
    """Forget the gauges of a worker that has ended; its counters stay, or they would go backwards."""
    if MULTIPROC_DIR in os.environ:
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


class _StartTime(Collector):
    """The start time of the service. Other metrics of one process say nothing of several processes."""

    def __init__(self, pid: int) -> None:
        self._process = ProcessCollector(pid=lambda: pid, registry=None)

    def collect(self) -> Iterable[Metric]:
        return [each for each in self._process.collect() if each.name == "process_start_time_seconds"]


def expose(port: int, host: str = "0.0.0.0", *, master: int | None = None) -> WSGIServer:  # noqa: S104 - scraped from outside the pod
    """Serve the sum over all workers in a thread of this process, which must not be one of them."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=os.environ[MULTIPROC_DIR])  # type: ignore[no-untyped-call]
    if master is not None:
        registry.register(_StartTime(master))
    server, _ = start_http_server(port, addr=host, registry=registry)
    return server


def expose_own(port: int, host: str) -> None:
    """Serve those of this process alone, in a thread. A port that is taken is logged, and ends nothing."""
    try:
        start_http_server(port, addr=host)
    except OSError as fault:
        log.error("metrics.not_served", port=port, reason=fault.strerror)  # noqa: TRY400 - the reason says it all
    else:
        log.info("metrics.served", port=port)
