"""Exemplars: from a bucket of a histogram to a sampled trace, over all processes."""

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from opentelemetry import trace
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.openmetrics import exposition, parser
from prometheus_client.registry import CollectorRegistry
from prometheus_client.samples import Exemplar, Sample

from service.platform.config import Settings
from service.platform.telemetry import exemplars, metric_files, metrics, sampled_trace, tracing
from service.platform.telemetry.exemplars import ExemplarFile
from tests.helpers.collector import Collector
from tests.helpers.factories import Make
from tests.platform.jobs.working import emptied, working
from tests.platform.telemetry.test_tracing import TRACE, TRACEPARENT, ask

REQUESTS = "http_request_duration_seconds_bucket"
JOBS = "job_duration_seconds_bucket"
NOT_SAMPLED = {"traceparent": TRACEPARENT["traceparent"].removesuffix("01") + "00"}
OTHER = "c0ffee00000000000000000000000001"
#: What a process of the service does, without the service: its numbers are the arguments.
PROCESS = """
import sys
from opentelemetry import trace
from service.platform.telemetry import metrics, sampled_trace
duration = metrics.BatchedHistogram("shop_seconds", "How long.", ["route"], buckets=(0.1, 0.5))
plain = metrics.BatchedCounter("shop_total", "How many.", ["route"])
for argument in sys.argv[1:]:
    value, _, trace_id = argument.partition("=")
    plain.inc("/x")
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if trace_id else 0)
    context = trace.SpanContext(int(trace_id or "1", 16), 1, False, flags)
    with sampled_trace.span_noted(trace.NonRecordingSpan(context)):
        duration.observe(float(value), "/x")
    metrics.flush()
    metrics.write_exemplars()
"""


def ids(trace_id: str) -> dict[str, str]:
    return {"trace_id": trace_id, "span_id": f"{1:016x}"}


def observed_by_a_process(folder: Path, *observations: str) -> None:
    env = os.environ | {metric_files.MULTIPROC_DIR: str(folder)}
    subprocess.run([sys.executable, "-c", PROCESS, *observations], env=env, check=True)


def summed(folder: Path) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(metric_files._Sum(str(folder)))
    return registry


def openmetrics(registry: CollectorRegistry) -> bytes:
    text: bytes = exposition.generate_latest(registry)  # type: ignore[no-untyped-call]
    return text


def samples(text: str, name: str) -> list[Sample]:
    """The parser also checks that each exemplar is where OpenMetrics allows one."""
    families = parser.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return [each for family in families for each in family.samples if each.name == name]


def marked(name: str, **labels: str) -> list[str]:
    """The traces that this process has for the buckets of these series."""
    text = openmetrics(REGISTRY).decode()
    return [
        each.exemplar.labels["trace_id"]
        for each in samples(text, name)
        if each.exemplar and labels.items() <= each.labels.items()
    ]


class TestOverProcesses:
    def test_the_newest_of_all_stands_at_its_bucket(self, tmp_path: Path) -> None:
        observed_by_a_process(tmp_path, f"0.2={TRACE}", "0.3", f"0.05={TRACE}")
        observed_by_a_process(tmp_path, f"0.4={OTHER}", f"7={OTHER}")
        text = openmetrics(summed(tmp_path)).decode()
        found = [
            (each.labels, each.value, each.exemplar and (each.exemplar.labels, each.exemplar.value))
            for each in samples(text, "shop_seconds_bucket")
        ]
        assert found == [
            ({"le": "0.1", "route": "/x"}, 1, (ids(TRACE), 0.05)),
            ({"le": "0.5", "route": "/x"}, 4, (ids(OTHER), 0.4)),
            ({"le": "+Inf", "route": "/x"}, 5, (ids(OTHER), 7.0)),
        ]

    def test_the_plain_text_is_what_it_was(self, tmp_path: Path) -> None:
        observed_by_a_process(tmp_path, f"0.2={TRACE}", f"7={OTHER}")
        [file] = tmp_path.glob(exemplars.PATTERN)
        with_them, in_openmetrics = generate_latest(summed(tmp_path)), openmetrics(summed(tmp_path))
        file.unlink()
        assert generate_latest(summed(tmp_path)) == with_them
        without = openmetrics(summed(tmp_path)).splitlines()
        assert [line.partition(b" # {")[0] for line in in_openmetrics.splitlines()] == without
        assert in_openmetrics.count(b" # {") == 2

    def test_one_that_is_not_sampled_leaves_no_file(self, tmp_path: Path) -> None:
        observed_by_a_process(tmp_path, "0.2", "0.3")
        assert [*tmp_path.glob("exemplars*")] == []

    def test_nothing_counts_before_the_command_line_has_set_the_folder(self) -> None:
        """prometheus_client would add up in memory, and the exporter find no files."""
        script = "import sys, service.__main__; print('prometheus_client' in sys.modules)"
        answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert answer.stdout == "False\n"

    def test_a_new_run_forgets_them(self, tmp_path: Path) -> None:
        observed_by_a_process(tmp_path, f"0.2={TRACE}")
        (tmp_path / "exemplars_1.new").write_text("a process was killed while it wrote this")
        metric_files.wipe(tmp_path)
        assert [*tmp_path.iterdir()] == []


@contextmanager
def no_room_after(size: int) -> Iterator[None]:
    """No file can grow beyond it, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestFile:
    SAMPLE = exemplars.sample("shop_seconds_bucket", {"route": "/x", "le": "0.1"})
    KEY = ("shop_seconds_bucket", frozenset({"route": "/x", "le": "0.1"}.items()))

    @staticmethod
    def _exemplar(number: int) -> Exemplar:
        return Exemplar({"trace_id": f"{number:032x}"}, 0.05, float(number))

    def test_stays_small_however_much_is_written(self, tmp_path: Path) -> None:
        file = ExemplarFile(tmp_path)
        for number in range(3_000):
            file.write({self.SAMPLE: self._exemplar(number)})
        [path] = tmp_path.iterdir()
        assert len(path.read_text().splitlines()) <= exemplars.OUTDATED_LINES + 2
        assert exemplars.newest(tmp_path) == {self.KEY: self._exemplar(2_999)}

    def test_a_line_that_is_being_written_is_passed_over(self, tmp_path: Path) -> None:
        ExemplarFile(tmp_path).write({self.SAMPLE: self._exemplar(1)})
        [path] = tmp_path.iterdir()
        with path.open("a") as file:
            file.write('[["shop_seconds_bucket", {"route": "/x", "le')
        assert exemplars.newest(tmp_path) == {self.KEY: self._exemplar(1)}

    def test_what_an_earlier_process_of_this_number_left_is_replaced(self, tmp_path: Path) -> None:
        ExemplarFile(tmp_path).write({self.SAMPLE: self._exemplar(9)})
        ExemplarFile(tmp_path).write({self.SAMPLE: self._exemplar(1)})
        assert exemplars.newest(tmp_path) == {self.KEY: self._exemplar(1)}

    def test_a_folder_that_was_full_costs_neither_metrics_nor_later_exemplars(self, tmp_path: Path) -> None:
        """The kernel writes the part of a line that there is room for."""
        file = ExemplarFile(tmp_path)
        file.write({self.SAMPLE: self._exemplar(1)})
        [path] = tmp_path.iterdir()
        with no_room_after(path.stat().st_size + 20):
            file.write({self.SAMPLE: self._exemplar(2)})
            assert exemplars.newest(tmp_path) == {self.KEY: self._exemplar(1)}
            file.write({self.SAMPLE: self._exemplar(3)})
        file.write({self.SAMPLE: self._exemplar(4)})
        assert exemplars.newest(tmp_path) == {self.KEY: self._exemplar(4)}
        file.write({self.SAMPLE: self._exemplar(5)})
        assert exemplars.newest(tmp_path) == {self.KEY: self._exemplar(5)}

    def test_a_folder_that_is_gone_costs_only_exemplars(self, tmp_path: Path) -> None:
        ExemplarFile(tmp_path / "gone").write({self.SAMPLE: self._exemplar(1)})
        assert exemplars.newest(tmp_path / "gone") == {}


class TestRequests:
    async def test_a_sampled_one_is_found_by_its_route(
        self, settings: Settings, make: Make, collector: Collector
    ) -> None:
        maria = await make.user()
        labels = {"method": "GET", "route": "/api/v1/users/profile"}
        assert await ask(settings, collector, maria, "/users/profile") == [200]
        [span] = collector.served
        [exemplar] = [
            each.exemplar.labels
            for each in samples(openmetrics(REGISTRY).decode(), REQUESTS)
            if each.exemplar and each.exemplar.labels["trace_id"] == span.trace_id.hex()
        ]
        assert exemplar == {"trace_id": span.trace_id.hex(), "span_id": span.span_id.hex()}
        assert span.trace_id.hex() in marked(REQUESTS, **labels)
        assert span.trace_id.hex() in marked("database_query_duration_seconds_bucket")

    async def test_one_that_continues_a_trace_has_that_one(
        self, settings: Settings, make: Make, collector: Collector
    ) -> None:
        maria = await make.user()
        assert await ask(settings, collector, maria, "/users/profile", headers=TRACEPARENT) == [200]
        assert TRACE in marked(REQUESTS, method="GET", route="/api/v1/users/profile")

    async def test_one_that_is_not_sampled_has_none(
        self, settings: Settings, make: Make, collector: Collector
    ) -> None:
        maria, before = await make.user(), marked(REQUESTS)
        assert await ask(settings, collector, maria, "/users/profile", headers=NOT_SAMPLED) == [200]
        assert collector.served == []
        assert marked(REQUESTS) == before

    async def test_without_tracing_there_are_none(self, make: Make) -> None:
        before = marked(REQUESTS)
        assert (await (await make.user()).api.get("/users/profile", headers=TRACEPARENT)).status_code == 200
        assert marked(REQUESTS) == before


class TestJobs:
    async def test_a_sampled_one_is_found_by_its_kind(
        self, settings: Settings, make: Make, collector: Collector, sql: asyncpg.Connection
    ) -> None:
        admin, chai = await make.admin(), await make.item()
        options: dict[str, Any] = {"method": "PATCH", "json": {"price": "19.00"}, "headers": TRACEPARENT}
        assert await ask(settings, collector, admin, f"/items/{chai.id}", **options) == [200]
        endpoint = f"{collector.url}/v1/traces"
        traces = tracing.install(endpoint=endpoint, service_name="tradepost", service_version="1")
        async with working(settings, ["event"]):
            await emptied(sql)
        traces.shutdown(60)
        [job] = collector.consumed
        assert job.trace_id.hex() == TRACE
        assert TRACE in marked(JOBS, kind="event")


class TestWhoseTraceItIs:
    @pytest.fixture
    def histogram(self) -> Iterator[metrics.BatchedHistogram]:
        name = "exemplars_of_tasks"
        yield metrics.BatchedHistogram(name, "for this test", ["of"], buckets=(1.0,))
        REGISTRY.unregister(REGISTRY._names_to_collectors[name])
        metrics._batched.pop()

    async def test_what_a_task_does_after_its_span_belongs_to_no_trace(
        self, histogram: metrics.BatchedHistogram
    ) -> None:
        context = trace.SpanContext(int(TRACE, 16), 1, False, trace.TraceFlags(trace.TraceFlags.SAMPLED))
        ended = asyncio.Event()

        async def work() -> None:
            histogram.observe(0.5, "inside")
            await ended.wait()
            histogram.observe(0.5, "after")

        with sampled_trace.span_noted(trace.NonRecordingSpan(context)):
            task = asyncio.create_task(work())
            await asyncio.sleep(0)
            histogram.observe(0.5, "own")
        ended.set()
        await task
        histogram.observe(0.5, "own, after")
        metrics.flush()
        every = samples(openmetrics(REGISTRY).decode(), "exemplars_of_tasks_bucket")
        assert {each.labels["of"] for each in every if each.exemplar} == {"inside", "own"}
        assert sampled_trace.live == {}
