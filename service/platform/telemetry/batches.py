"""Metrics of what happens at every request, for a tenth of what prometheus_client takes.

A write to its files takes 1.3 microseconds, and a request would need a dozen. Here it is added up in
memory, and goes into the files several times a second (`flush`, by the pulse of each process). A process
that is killed takes the last moment's counts with it; what was counted before stays.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]


class _Batched(Protocol):
    def flush(self) -> None: ...


_batched: list[_Batched] = []
_owner: Final = threading.get_ident()


def flush() -> None:
    """Write down what has been added up, in the thread in which it was."""
    for each in _batched:
        each.flush()


class _BeforeOthers(Collector):
    """Whoever reads this process's own registry finds what has been added up so far."""

    def collect(self) -> Iterable[Metric]:
        if threading.get_ident() == _owner:
            flush()
        return ()

    def describe(self) -> Iterable[Metric]:
        return ()


# Collectors are asked in the order in which they came: this one before all that are made below.
REGISTRY.register(_BeforeOthers())


class Count:
    """A counter, always with labels: one without would open its file when a module is imported."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self.metric: Final = Counter(name, documentation, labels)
        self._waiting: dict[Labels, int] = {}
        _batched.append(self)

    def add(self, *labels: str, times: int = 1) -> None:
        waiting = self._waiting
        waiting[labels] = waiting.get(labels, 0) + times

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for labels, count in waiting.items():
            self.metric.labels(*labels).inc(count)


class Distribution:
    """A histogram."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> None:
        self._made: Histogram | None = None
        self._description = (name, documentation, labels)
        self._bounds = tuple(buckets)
        self._waiting: dict[Labels, list[float]] = {}
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

    def begin(self) -> None:
        """Let it be there before anything has been observed."""
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

    def _make(self) -> Histogram:
        # A metric without labels opens its file when it is made: not when a module is imported.
        self._made = Histogram(*self._description, buckets=self._bounds)
        return self._made


class Level:
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
        """Let it be there at 0."""
        if self._made is None:
            self._made = Gauge(*self._description, multiprocess_mode="livesum")
        self._made.set(self.value)
