"""What exemplars cost: CPU time in this process, for bench/telemetry.py or alone."""

import statistics
import tempfile
import time
from pathlib import Path

from opentelemetry import trace
from prometheus_client.samples import Exemplar

from service.platform.telemetry import exemplars, metrics, sampled_trace

IDS = {"trace_id": "1" * 32, "span_id": "1" * 16}


def exemplar_costs(times: int = 20_000, rounds: int = 40) -> str:
    """Microseconds of an observation without a trace, in one that is sampled, and of what is written then.

    In turns, so that whatever else the machine does hits all alike; the median of each.
    """
    histogram = metrics.BatchedHistogram("bench_seconds", "For this alone.", ["route"], buckets=(0.01, 0.1))
    context = trace.SpanContext(1, 1, False, trace.TraceFlags(trace.TraceFlags.SAMPLED))

    def spent(count: int) -> float:
        before = time.process_time()
        for _ in range(count):
            histogram.observe(0.02, "/")
        return (time.process_time() - before) / count * 1e6

    without, within, written = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        file = exemplars.ExemplarFile(Path(folder))
        sample = exemplars.sample("bench_seconds_bucket", {"route": "/", "le": "0.1"})
        for _ in range(rounds):
            without.append(spent(times))
            with sampled_trace.span_noted(trace.NonRecordingSpan(context)):
                within.append(spent(times))
            before = time.process_time()
            for number in range(500):
                file.write({sample: Exemplar(IDS, 0.02, float(number))})
            written.append((time.process_time() - before) / 500 * 1e6)
    took = [statistics.median(each) for each in (without, within, written)]
    return "An observation: {:.2f}, in a sampled trace {:.2f}; a line of exemplars: {:.1f}.".format(*took)


if __name__ == "__main__":
    print(exemplar_costs())
