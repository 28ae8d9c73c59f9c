"""The files in which processes store their metrics, and the endpoint that serves them.

In OpenMetrics, which Prometheus asks for, buckets have exemplars; in the plain text format there are none.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Metric,
    ProcessCollector,
    multiprocess,
    start_http_server,
)
from prometheus_client.registry import Collector

from service.platform.telemetry import ended_workers, exemplars
from service.platform.telemetry.exemplars import MULTIPROC_DIR

if TYPE_CHECKING:
    from service.platform.telemetry.otlp_metrics import MetricPush

log = structlog.get_logger(__name__)

__all__ = ["MULTIPROC_DIR", "expose", "expose_own", "push", "wipe", "worker_ended"]


def wipe(folder: Path) -> None:
    """Remove the files of an earlier run: its counts would be added to those of this one."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in ("*.db", "*.new", exemplars.OF_ANY_RUN):
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)


def worker_ended(pid: int) -> None:
    """Forget the gauges of a worker that has ended; its counts stay, or sums would go backwards."""
    if MULTIPROC_DIR in os.environ:
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
        ended_workers.fold(Path(os.environ[MULTIPROC_DIR]), pid)


class _Sum(Collector):
    """The sum over all processes, with their exemplars."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._files = multiprocess.MultiProcessCollector(None, path=folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        with ended_workers.reading(self._folder):
            # Before the files: an exemplar is written after the observation that it belongs to.
            newest = exemplars.newest(self._folder)
            metrics = [*self._files.collect()]  # type: ignore[no-untyped-call]
        for metric in metrics:
            if newest and metric.type == "histogram":
                metric.samples = [
                    each._replace(exemplar=newest.get((each.name, frozenset(each.labels.items()))))
                    for each in metric.samples
                ]
            yield metric


class _StartTime(Collector):
    """The start time of the service. Other metrics of one process say nothing of several processes."""

    def __init__(self, pid: int) -> None:
        self._process = ProcessCollector(pid=lambda: pid, registry=None)

    def collect(self) -> Iterable[Metric]:
        return [each for each in self._process.collect() if each.name == "process_start_time_seconds"]


def expose(port: int, host: str = "0.0.0.0", *, master: int | None = None) -> WSGIServer:  # noqa: S104 - scraped from outside the pod
    """Serve the sum over all workers in a thread of this process, which must not be one of them."""
    server, _ = start_http_server(port, addr=host, registry=_summed(master))
    return server


def _summed(master: int | None) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Sum(os.environ[MULTIPROC_DIR]))
    if master is not None:
        registry.register(_StartTime(master))
    return registry


def expose_own(port: int, host: str) -> None:
    """Serve those of this process alone, in a thread. A port that is taken is logged, and ends nothing."""
    try:
        start_http_server(port, addr=host)
    except OSError as fault:
        log.error("metrics.not_served", port=port, reason=fault.strerror)  # noqa: TRY400 - the reason says it all
    else:
        log.info("metrics.served", port=port)


def push(
    endpoint: str | None, service_name: str, version: str, *, master: int | None = None
) -> "MetricPush | None":
    """Send them to a collector too: of all processes of this master, or of this process alone.

    There must be one sender for what is counted once. None where there is no endpoint.
    """
    if endpoint is None:
        return None
    from service.platform.telemetry.otlp_metrics import MetricPush

    resource = {"service.name": service_name, "service.version": version}
    return MetricPush(REGISTRY if master is None else _summed(master), endpoint, resource)
