"""What telemetry costs: CPU time of a worker for one request of the cheapest route, with it and without.

    python bench/telemetry.py [ROUNDS [CHECKOUT]]

One service for each way of running it, of one worker each, all at once; each round asks all of them in
random order, so that whatever else the machine does hits all alike. What is measured is the CPU time that
the kernel has counted for the worker, all its threads included, and not how long anything took. With the
path of a checkout of another commit, what traces cost there is measured in the same rounds.
It fails where the log and the collector do not have the same ids of traces, or have others than were sampled.
Last, in this process: what the probes of the event loop and of the pool take.
"""

import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, NamedTuple

from costs_shop import read
from exemplar_costs import exemplar_costs
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from processes import free_port, wait_for

from service.cli import migrate
from service.dev import embedded
from service.platform.database import metrics as database_metrics
from service.platform.telemetry.runtime import RuntimeMonitor
from service.platform.telemetry.tracing import LOW_HALF

#: Answered from memory, all of it but the request itself.
ROUTE = "/api/v1/items"
REQUESTS = 640
CONNECTIONS = 32
WARM_UP = 1_600
GOAL_MICROSECONDS = 15.0
PULSE_SECONDS = 5

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-"


class Way(NamedTuple):
    """What is switched on, how many of a hundred traces are sampled, and what each request brings along."""

    parts: str = ""
    percent: int = 0
    traceparent: str = ""
    checkout: Path = Path(__file__).parents[1]


BASE = "everything off"
#: Of the other checkout.
THERE = "there: "
MEASURED = "everything on, 1 % sampled"
TRACES: dict[str, Way] = {
    BASE: Way(),
    "traces, not sampled": Way("traces"),
    "traces, continued, not sampled": Way("traces", 0, TRACEPARENT + "00"),
    "traces, continued, sampled": Way("traces", 0, TRACEPARENT + "01"),
    "traces, all sampled": Way("traces", 100),
}
WITHOUT_EXEMPLARS = ", without exemplars"
SAMPLED = "everything on, all sampled"
LINES_SENT = "everything on, 1 % sampled, lines over OTLP too"
WAYS: dict[str, Way] = TRACES | {
    "access log": Way("log"),
    "metrics": Way("metrics"),
    MEASURED: Way("log metrics traces exemplars", 1),
    MEASURED + WITHOUT_EXEMPLARS: Way("log metrics traces", 1),
    SAMPLED: Way("log metrics traces exemplars", 100),
    SAMPLED + WITHOUT_EXEMPLARS: Way("log metrics traces", 100),
    LINES_SENT: Way("log metrics traces exemplars lines", 1),
}


@dataclass
class Service:
    process: subprocess.Popen[bytes]
    port: int

    @property
    def worker(self) -> int:
        """The master's only child that has not been started as a program of its own."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        [pid] = [
            int(child) for child in children if b"exporter" not in Path(f"/proc/{child}/cmdline").read_bytes()
        ]
        return pid

    def cpu_ns(self) -> int:
        tasks = Path(f"/proc/{self.worker}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks)


class Collector(BaseHTTPRequestHandler):
    """Takes spans, and remembers the ids of those of requests, by the name of their service."""

    served: ClassVar[dict[str, set[tuple[str, str]]]] = defaultdict(set)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        spans = body if self.path == "/v1/traces" else b""
        for resource in ExportTraceServiceRequest.FromString(spans).resource_spans:
            [name] = [
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            ]
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                if span.kind == Span.SPAN_KIND_SERVER:
                    self.served[name].add((span.trace_id.hex(), span.span_id.hex()))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def started(way: Way, folder: Path, database: str, collector: str) -> Iterator[Service]:
    port = free_port()
    env = os.environ | {
        "ENVIRONMENT": "test", "HOST": "127.0.0.1", "PORT": str(port), "METRICS_PORT": str(free_port()),
        "DATA_DIR": str(folder), "DATABASE_URL": database, "WEB_CONCURRENCY": "1",
        # Here, for the service's modules are imported before its command line could set it.
        "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
        "TELEMETRY": way.parts, "LOG_LEVEL": "INFO" if "log" in way.parts else "WARNING",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": str(way.percent / 100),
        "OTEL_SERVICE_NAME": folder.name, "PYTHONPATH": str(way.checkout),
    }  # fmt: skip
    if "traces" in way.parts:
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector
        env["OTEL_LOGS_EXPORTER"] = "otlp" if "lines" in way.parts else "none"
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        program = [sys.executable, str(way.checkout / "bench/telemetry_service.py")]
        process = subprocess.Popen(program, env=env, stdout=log)
        try:
            yield Service(process, port)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def ask(port: int, count: int, traceparent: str = "") -> None:
    """That many requests over a few connections, each of which has one under way at any time."""
    header = f"traceparent: {traceparent}\r\n" if traceparent else ""
    question = f"GET {ROUTE} HTTP/1.1\r\nHost: shop\r\n{header}\r\n".encode()
    sockets = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(CONNECTIONS)]
    try:
        for _ in range(count // CONNECTIONS):
            for each in sockets:
                each.sendall(question)
            for each in sockets:
                if not (answer := read(each)).startswith(b"HTTP/1.1 200"):
                    sys.exit(f"it answered {answer[:200]!r}")
    finally:
        for each in sockets:
            each.close()


def measured(ways: dict[str, Way], services: dict[str, Service], rounds: int) -> dict[str, list[float]]:
    """Microseconds of CPU for one request, of each round."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for name, way in ways.items():
        ask(services[name].port, WARM_UP, way.traceparent)
    for _ in range(rounds):
        for name in random.sample(list(ways), len(ways)):
            service = services[name]
            before = service.cpu_ns()
            ask(service.port, REQUESTS, ways[name].traceparent)
            spent[name].append((service.cpu_ns() - before) / REQUESTS / 1_000)
    return spent


def report(spent: dict[str, list[float]], rounds: int) -> None:
    print(f"GET {ROUTE}, {rounds} rounds of {REQUESTS:,} requests each, Python {sys.version.split()[0]}\n")
    print("| | 10 % | median | 90 % | more at 10 % | median of what is more |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, values in spent.items():
        low, middle, high = tenth(values), statistics.median(values), tenth([-value for value in values])
        more = "| |"
        base = THERE + BASE if name.startswith(THERE) else BASE
        if name != base:
            cost, error = difference(spent, name, base)
            more = f"| {low - tenth(spent[base]):+.1f} | {cost:+.1f} ± {error:.1f} |"
        print(f"| {name} | {low:.1f} | {middle:.1f} | {-high:.1f} {more}")
    for name in (MEASURED, SAMPLED):
        cost, error = difference(spent, name, name + WITHOUT_EXEMPLARS)
        print(f"\nExemplars, {name}: {cost:+.2f} ± {error:.2f} microseconds a request in the median")
    cost, _ = difference(spent, MEASURED)
    least = tenth(spent[MEASURED]) - tenth(spent[BASE])
    for each, where in ((least, "where others disturb least"), (cost, "in the median")):
        verdict = "within" if each <= GOAL_MICROSECONDS else "over"
        print(f"\n{each:.1f} microseconds a request {where}: {verdict} the goal of {GOAL_MICROSECONDS:.0f}")


def check_ids(folder: Path) -> None:
    """Of a service that has sampled one in a hundred, and was asked to continue one trace."""
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    logged = {(line["trace_id"], line["span_id"]) for line in lines if "trace_id" in line}
    below = TraceIdRatioBased(WAYS[MEASURED].percent / 100).bound
    decided = {each for each, _ in logged if each == TRACE or int(each, 16) & LOW_HALF < below}
    exported = Collector.served[folder.name]
    print(
        f"\nTraces decided on: {len(decided)}; in the log: {len(logged)}; exported: {len(exported)}.", end=" "
    )
    if logged != exported or {each for each, _ in logged} != decided or TRACE not in decided:
        sys.exit("Their ids differ.")
    print("Their ids are the same.\n")


def tenth(values: list[float]) -> float:
    return statistics.quantiles(values, n=10)[0]


def difference(spent: dict[str, list[float]], name: str, base: str = BASE) -> tuple[float, float]:
    """The median of the differences within rounds, and its standard error."""
    differences = [each - base for each, base in zip(spent[name], spent[base], strict=True)]
    return statistics.median(differences), 1.25 * statistics.stdev(differences) / len(differences) ** 0.5


async def monitoring() -> float:
    """Microseconds of CPU in a second that the monitor takes, whatever else the process does."""

    async def spent(monitor: RuntimeMonitor | None) -> float:
        before = time.process_time()
        if monitor is not None:
            monitor.start("bench")
        await asyncio.sleep(PULSE_SECONDS)
        if monitor is not None:
            await monitor.stop()
        return (time.process_time() - before) / PULSE_SECONDS * 1e6

    await spent(RuntimeMonitor())  # what is loaded and made at the first time
    return await spent(RuntimeMonitor()) - await spent(None)


def waiting(times: int = 100_000) -> float:
    """Microseconds for which a wait for a connection is measured and noted."""
    before = time.process_time()
    for _ in range(times):
        began = time.perf_counter()
        database_metrics.WAIT.observe(time.perf_counter() - began)
    return (time.process_time() - before) / times * 1e6


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    ways = dict(WAYS)
    if len(sys.argv) > 2:
        other = Path(sys.argv[2]).resolve()
        ways |= {THERE + name: way._replace(checkout=other) for name, way in TRACES.items()}
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # the database runs under another account where this is root
        server = embedded.start(folder / "database", durable=False)
        stack.callback(server.stop)
        url = server.url.replace("postgresql://", "postgresql+asyncpg://")
        migrate.upgrade(url)
        at = f"http://127.0.0.1:{collector.server_port}"
        with ExitStack() as running:
            kinds = {way._replace(traceparent="") for way in ways.values()}
            by_kind = {
                kind: running.enter_context(started(kind, folder / str(number), url, at))
                for number, kind in enumerate(kinds)
            }
            services = {name: by_kind[way._replace(traceparent="")] for name, way in ways.items()}
            for service in by_kind.values():
                wait_for(service.process, service.port)
            report(measured(ways, services, rounds), rounds)
            ask(services[MEASURED].port, CONNECTIONS, TRACEPARENT + "01")
        check_ids(folder / str([*by_kind].index(WAYS[MEASURED])))
    collector.shutdown()
    print(f"A wait for a connection: {waiting():.2f} microseconds.", end=" ")
    print(f"The runtime monitor: {asyncio.run(monitoring()):,.0f} a second.")
    print(exemplar_costs())
    return 0


if __name__ == "__main__":
    sys.exit(main())
