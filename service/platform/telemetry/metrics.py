"""What the platform and the domains declare their metrics with.

    ORDERS = Counter("orders_total", "Orders by the status that they have reached.", ["outcome"])
    ORDERS.labels("paid").inc()

Labels are bounded: a route's template, never a path, a user or an id. Counter, Gauge and Histogram are
prometheus_client's. It writes to a file at each call, which takes 1.3 microseconds, and a request would need
a dozen. So what happens at every request is batched: added up in memory, and written several times a second
(`flush`, by the runtime monitor of each process). A process that is killed loses the counts since then.

A batched histogram has exemplars: what is observed in a sampled trace leads to it, the last of each bucket.

A metric without labels opens its file when it is made. When a module is imported the folder may not be
there, and a gauge at 0 in the master's files would be the smallest of all for ever. So metrics without labels
are made when they are first needed: the batched ones by themselves, others by `unlabelled_counter` and
`unlabelled_gauge`.
"""

import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal, Protocol

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from service.platform.telemetry import exemplars, metric_values
from service.platform.telemetry.exemplars import ExemplarFile
from service.platform.telemetry.sampled_trace import current, live

__all__ = [
    "BatchedCounter",
    "BatchedGauge",
    "BatchedHistogram",
    "Counter",
    "Gauge",
    "Histogram",
    "flush",
    "unlabelled_counter",
    "unlabelled_gauge",
    "write_exemplars",
]

Labels = tuple[str, ...]


class _Batched(Protocol):
    def flush(self) -> None: ...


metric_values.install()

_batched: list[_Batched] = []
_owner: Final = threading.get_ident()
#: Exemplars for the file of this process, where metrics are in files.
_fresh: dict[str, Exemplar] = {}
_file: ExemplarFile | None = None


def flush() -> None:
    """Write what has been added up. Only the thread that adds up may call it."""
    for each in _batched:
        each.flush()


def write_exemplars() -> None:
    """Write those of what has been flushed, where metrics are in files. A call is several microseconds."""
    global _file, _fresh  # noqa: PLW0603 - as the files of prometheus_client, it is the process's
    folder = os.environ.get(exemplars.MULTIPROC_DIR)
    if _fresh and folder is not None:
        _file = _file or ExemplarFile(Path(folder))
        _file.write(_fresh)
    _fresh = {}


class _FlushFirst(Collector):
    """A read of this process's own registry finds what has been added up so far."""

    def collect(self) -> Iterable[Metric]:
        if threading.get_ident() == _owner:
            flush()
        return ()

    def describe(self) -> Iterable[Metric]:
        return ()


# Collectors are asked in the order in which they came: this one before all that are made below.
REGISTRY.register(_FlushFirst())


class BatchedCounter:
    """Always with labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self.metric: Final = Counter(name, documentation, labels)
        self._waiting: dict[Labels, int] = {}
        _batched.append(self)

    def inc(self, *labels: str, amount: int = 1) -> None:
        waiting = self._waiting
        waiting[labels] = waiting.get(labels, 0) + amount

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for labels, count in waiting.items():
            self.metric.labels(*labels).inc(count)


class BatchedHistogram:
    def __init__(
        self, name: str, documentation: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> None:
        self._made: Histogram | None = None
        self._description = (name, documentation, labels)
        self._bounds = tuple(buckets)
        self._waiting: dict[Labels, list[float]] = {}
        self._exemplars: dict[tuple[Labels, int], tuple[dict[str, str], float, float]] = {}
        self._samples: dict[tuple[Labels, int], str] = {}
        if labels:
            self._make()
        _batched.append(self)

    @property
    def metric(self) -> Histogram:
        return self._made or self._make()

    def observe(self, value: float, *labels: str) -> None:
        found = self._waiting.get(labels)
        if found is None:
            # A count for each bucket, one for what is above, and the sum.
            found = self._waiting[labels] = [0.0] * (len(self._bounds) + 2)
        found[bisect_left(self._bounds, value)] += 1
        found[-1] += value
        if live and (trace := current()):
            self._exemplars[labels, bisect_left(self._bounds, value)] = (trace[0], value, time.time())

    def begin(self) -> None:
        """Export it before anything has been observed."""
        self._waiting.setdefault((), [0.0] * (len(self._bounds) + 2))

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for labels, (*counts, total) in waiting.items():
            child = self.metric.labels(*labels) if labels else self.metric
            # prometheus_client has no way to add many at once; a test holds that this is the same.
            for bucket, count in zip(child._buckets, counts, strict=True):  # noqa: SLF001
                if count:
                    bucket.inc(count)
            child._sum.inc(total)  # noqa: SLF001
        if self._exemplars:
            self._flush_exemplars()

    def _flush_exemplars(self) -> None:
        marked, self._exemplars = self._exemplars, {}
        for (labels, bucket), (ids, value, moment) in marked.items():
            exemplar = Exemplar(ids, value, round(moment, 3))
            child = self.metric.labels(*labels) if labels else self.metric
            # It keeps it where there is one process, and drops it where metrics are in files.
            child._buckets[bucket].set_exemplar(exemplar)  # noqa: SLF001
            _fresh[self._sample(labels, bucket)] = exemplar

    def _sample(self, labels: Labels, bucket: int) -> str:
        """The bucket, as the file has it."""
        known = self._samples.get((labels, bucket))
        if known is None:
            name, _, names = self._description
            bound = floatToGoString((*self._bounds, float("inf"))[bucket])  # type: ignore[no-untyped-call]
            of = {**dict(zip(names, labels, strict=True)), "le": bound}
            known = self._samples[labels, bucket] = exemplars.sample(f"{name}_bucket", of)
        return known

    def _make(self) -> Histogram:
        self._made = Histogram(*self._description, buckets=self._bounds)
        return self._made


class BatchedGauge:
    """A gauge that goes up and down with every request; summed over the processes that live."""

    def __init__(self, name: str, documentation: str) -> None:
        self._description = (name, documentation)
        self._made: Gauge | None = None
        self._written: int | None = None
        self.value = 0
        _batched.append(self)

    def flush(self) -> None:
        if self.value == self._written or (self._made is None and not self.value):
            return
        if self._made is None:
            self._made = Gauge(*self._description, multiprocess_mode="livesum")
        self._made.set(self.value)
        self._written = self.value

    def begin(self) -> None:
        """Export it at 0."""
        if self._made is None:
            self._made = Gauge(*self._description, multiprocess_mode="livesum")
        self._made.set(self.value)


_counters: Final[dict[str, Counter]] = {}
_gauges: Final[dict[str, Gauge]] = {}


def unlabelled_counter(name: str, documentation: str) -> Counter:
    if name not in _counters:
        _counters[name] = Counter(name, documentation)
    return _counters[name]


def unlabelled_gauge(name: str, documentation: str, mode: Literal["livesum", "livemin", "livemax"]) -> Gauge:
    if name not in _gauges:
        _gauges[name] = Gauge(name, documentation, multiprocess_mode=mode)
    return _gauges[name]
