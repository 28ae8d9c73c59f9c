"""What telemetry costs: CPU time of a worker for one request of the cheapest route, with it and without.

    python bench/telemetry.py [ROUNDS]

One service for each way of running it, of one worker each, all at once; each round asks all of them in
random order, so that whatever else the machine does hits all alike. What is measured is the CPU time that
the kernel has counted for the worker, all its threads included, and not how long anything took.
Last, in this process: what the probes of the event loop and of the pool take.
"""

import asyncio
import http.client
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from costs_shop import read

from service.cli import migrate
from service.dev import embedded
from service.platform.telemetry import database_metrics
from service.platform.telemetry.runtime import Pulse

#: Answered from memory, all of it but the request itself.
ROUTE = "/api/v1/items"
REQUESTS = 640
CONNECTIONS = 32
WARM_UP = 1_600
START_WITHIN = 180
GOAL_MICROSECONDS = 15.0
PULSE_SECONDS = 5

#: What is switched on, and how many of a hundred traces are sampled.
WAYS: dict[str, tuple[str, float]] = {
    "everything off": ("", 0),
    "access log": ("log", 0),
    "metrics": ("metrics", 0),
    "traces, 1 % sampled": ("traces", 1),
    "everything on, 1 % sampled": ("log metrics traces", 1),
    "everything on, all sampled": ("log metrics traces", 100),
}
BASE = "everything off"
MEASURED = "everything on, 1 % sampled"


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
    """Takes spans, and forgets them."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def started(name: str, folder: Path, database: str, collector: str) -> Iterator[Service]:
    parts, percent = WAYS[name]
    port = free_port()
    env = os.environ | {
        "ENVIRONMENT": "test", "HOST": "127.0.0.1", "PORT": str(port), "METRICS_PORT": str(free_port()),
        "DATA_DIR": str(folder), "DATABASE_URL": database, "WEB_CONCURRENCY": "1",
        # Here, for the service's parts are imported before its command line could say it.
        "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
        "TELEMETRY": parts, "LOG_LEVEL": "INFO" if "log" in parts else "WARNING",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": str(percent / 100),
    }  # fmt: skip
    if "traces" in parts:
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        program = [sys.executable, str(Path(__file__).with_name("telemetry_service.py"))]
        process = subprocess.Popen(program, env=env, stdout=log)
        try:
            yield Service(process, port)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def wait_for(service: Service) -> None:
    deadline = time.monotonic() + START_WITHIN
    while service.process.poll() is None and time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=2)
            connection.request("GET", "/startupz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit("A service did not become ready.")


def ask(port: int, count: int) -> None:
    """That many requests over a few connections, each of which has one under way at any time."""
    question = f"GET {ROUTE} HTTP/1.1\r\nHost: shop\r\n\r\n".encode()
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


def measured(services: dict[str, Service], rounds: int) -> dict[str, list[float]]:
    """Microseconds of CPU for one request, of each round."""
    spent: dict[str, list[float]] = {name: [] for name in services}
    for service in services.values():
        ask(service.port, WARM_UP)
    for _ in range(rounds):
        for name in random.sample(list(services), len(services)):
            service = services[name]
            before = service.cpu_ns()
            ask(service.port, REQUESTS)
            spent[name].append((service.cpu_ns() - before) / REQUESTS / 1_000)
    return spent


def report(spent: dict[str, list[float]], rounds: int) -> None:
    print(f"GET {ROUTE}, {rounds} rounds of {REQUESTS:,} requests each, Python {sys.version.split()[0]}\n")
    print("| | 10 % | median | 90 % | more at 10 % | median of what is more |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, values in spent.items():
        low, middle, high = tenth(values), statistics.median(values), tenth([-value for value in values])
        more = "| |"
        if name != BASE:
            cost, error = difference(spent, name)
            more = f"| {low - tenth(spent[BASE]):+.1f} | {cost:+.1f} ± {error:.1f} |"
        print(f"| {name} | {low:.1f} | {middle:.1f} | {-high:.1f} {more}")
    cost, _ = difference(spent, MEASURED)
    least = tenth(spent[MEASURED]) - tenth(spent[BASE])
    for each, where in ((least, "where others disturb least"), (cost, "in the median")):
        verdict = "within" if each <= GOAL_MICROSECONDS else "over"
        print(f"\n{each:.1f} microseconds a request {where}: {verdict} the goal of {GOAL_MICROSECONDS:.0f}")


def tenth(values: list[float]) -> float:
    return statistics.quantiles(values, n=10)[0]


def difference(spent: dict[str, list[float]], name: str) -> tuple[float, float]:
    """The median of the differences within rounds, and its standard error."""
    differences = [each - base for each, base in zip(spent[name], spent[BASE], strict=True)]
    return statistics.median(differences), 1.25 * statistics.stdev(differences) / len(differences) ** 0.5


async def beating() -> float:
    """Microseconds of CPU in a second that the pulse takes, whatever else the process does."""

    async def spent(pulse: Pulse | None) -> float:
        before = time.process_time()
        if pulse is not None:
            pulse.start("bench")
        await asyncio.sleep(PULSE_SECONDS)
        if pulse is not None:
            await pulse.stop()
        return (time.process_time() - before) / PULSE_SECONDS * 1e6

    await spent(Pulse())  # what is loaded and made at the first time
    return await spent(Pulse()) - await spent(None)


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
        services = {
            way: stack.enter_context(started(way, folder / str(number), url, at))
            for number, way in enumerate(WAYS)
        }
        for service in services.values():
            wait_for(service)
        report(measured(services, rounds), rounds)
    collector.shutdown()
    print(f"A wait for a connection: {waiting():.2f} microseconds.", end=" ")
    print(f"The pulse: {asyncio.run(beating()):,.0f} a second.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
