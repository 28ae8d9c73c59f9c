"""What is added up in memory comes to what prometheus_client would have written itself."""

import threading
from itertools import count

import pytest
from prometheus_client import REGISTRY, Histogram
from prometheus_client.registry import CollectorRegistry

from service.platform.telemetry import metrics

_numbers = count(1)
BOUNDS = (0.1, 0.5, 1.0)
#: Below, on and above every bound.
VALUES = (0.0, 0.05, 0.1, 0.1000001, 0.5, 0.7, 1.0, 1.5, 100.0)


def name() -> str:
    return f"batched_{next(_numbers)}"


class TestBatchedHistogram:
    def test_is_the_same_as_observing_each(self) -> None:
        ours, own = name(), CollectorRegistry()
        theirs = Histogram(ours, "the same", ["route"], buckets=BOUNDS, registry=own)
        histogram = metrics.BatchedHistogram(ours, "the same", ["route"], buckets=BOUNDS)
        for value in VALUES * 3:
            theirs.labels("/").observe(value)
            histogram.observe(value, "/")
        for suffix, labels in (
            *(("_bucket", {"route": "/", "le": le}) for le in ("0.1", "0.5", "1.0", "+Inf")),
            ("_count", {"route": "/"}),
        ):
            found = REGISTRY.get_sample_value(ours + suffix, labels)
            assert found == own.get_sample_value(ours + suffix, labels) is not None
        total = REGISTRY.get_sample_value(f"{ours}_sum", {"route": "/"})
        assert total == pytest.approx(own.get_sample_value(f"{ours}_sum", {"route": "/"}))

    def test_without_labels_is_made_when_it_is_needed(self) -> None:
        ours = name()
        histogram = metrics.BatchedHistogram(ours, "lazy", buckets=BOUNDS)
        assert REGISTRY.get_sample_value(f"{ours}_count") is None
        histogram.begin()
        metrics.flush()
        assert REGISTRY.get_sample_value(f"{ours}_count") == 0
        histogram.observe(0.2)
        assert REGISTRY.get_sample_value(f"{ours}_count") == 1


class TestBatchedCounter:
    def test_nothing_is_counted_twice(self) -> None:
        ours = name()
        counter = metrics.BatchedCounter(f"{ours}_total", "counts", ["of"])
        for _ in range(3):
            counter.inc("a")
        assert REGISTRY.get_sample_value(f"{ours}_total", {"of": "a"}) == 3
        metrics.flush()
        assert REGISTRY.get_sample_value(f"{ours}_total", {"of": "a"}) == 3
        counter.inc("a")
        assert REGISTRY.get_sample_value(f"{ours}_total", {"of": "a"}) == 4

    def test_another_thread_writes_nothing_down(self) -> None:
        """Who adds up goes on meanwhile: it is for the pulse, in the thread of both."""
        ours, found = name(), []
        counter = metrics.BatchedCounter(f"{ours}_total", "counts", ["of"])
        counter.inc("a")
        ask = lambda: found.append(REGISTRY.get_sample_value(f"{ours}_total", {"of": "a"}))  # noqa: E731
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        assert found == [None]
        assert REGISTRY.get_sample_value(f"{ours}_total", {"of": "a"}) == 1


class TestBatchedGauge:
    def test_goes_up_and_down(self) -> None:
        ours = name()
        gauge = metrics.BatchedGauge(ours, "how many")
        gauge.value += 2
        metrics.flush()
        assert REGISTRY.get_sample_value(ours) == 2
        gauge.value -= 2
        assert REGISTRY.get_sample_value(ours) == 0
