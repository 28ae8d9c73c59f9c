"""Metrics of real processes: none is lost with a worker, and promtool has no remark."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx2
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.client import V1, assert_problem
from tests.helpers.waiting import wait_until
from tests.server import abandoning, impatient
from tests.server.process import Service, alive, cloned_database, get, started

pytestmark = pytest.mark.slow

ROUTE = "/.well-known/jwks.json"
WORKERS = 4

#: Of the API, from its start on: so that increase() sees the first one.
API = {
    "build_info", "change_feed_listening", "database_pool_connections_in_use", "database_pool_size",
    "database_pool_wait_seconds", "database_query_duration_seconds", "database_up", "event_loop_lag_seconds",
    "gunicorn_worker_exits", "gunicorn_workers", "gunicorn_workers_started", "http_request_duration_seconds",
    "http_requests", "http_requests_in_progress", "http_response_size_bytes", "order_refusals",
    "order_revenue", "orders", "password_hash_duration_seconds", "password_hashes_waiting",
    "process_start_time_seconds", "requests_shed", "sign_ins", "thread_pool_limit", "thread_pool_tasks",
    "token_refreshes", "trace_spans",
}  # fmt: skip
#: Of a worker.
WORKER = {
    "build_info", "database_pool_connections_in_use", "database_pool_size", "database_pool_wait_seconds",
    "database_query_duration_seconds", "database_transactions", "database_up", "event_loop_lag_seconds",
    "job_oldest_waiting_seconds", "jobs", "jobs_failed", "jobs_waiting", "order_invariant_faults",
    "process_resident_memory_bytes", "process_start_time_seconds", "thread_pool_limit", "thread_pool_tasks",
    "trace_spans", "webhook_deliveries", "webhooks_disabled",
}  # fmt: skip

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def database() -> Iterator[str]:
    with cloned_database() as url:
        yield url


def families(service: Service) -> dict[str, str]:
    return {family.name: family.type for family in text_string_to_metric_families(service.metrics())}


def samples(service: Service, *types: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(service.metrics())
        if family.type in types
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def value(service: Service, name: str, **labels: str) -> float | None:
    return samples(service, "counter", "gauge", "histogram").get((name, frozenset(labels.items())))


def remarks(text: str) -> str:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: it comes with Debian's package prometheus"
    answer = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    return answer.stdout + answer.stderr


class Load:
    """Clients that repeat requests, though their connections may break. Answers wait for the database,
    or hardly a request would be seen while it is worked on.
    """

    def __init__(self, service: Service, token: str, clients: int = 6) -> None:
        self.url, self.headers = f"{service.url}{V1}/users/profile", {"Authorization": f"Bearer {token}"}
        self.answered, self.ending = 0, threading.Event()
        self.threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def _ask(self) -> None:
        while not self.ending.is_set():
            try:
                with httpx2.Client(headers=self.headers) as client:
                    for _ in range(20):
                        self.answered += client.get(self.url, timeout=10).status_code == 200
            except httpx2.TransportError:
                pass


def replaced(service: Service, ended: set[int]) -> bool:
    serving = service.workers()
    return len(serving) == 2 and not serving & ended


class TestKilledWorker:
    def test_counts_never_go_back_and_nothing_stays_in_progress(self, database: str, tmp_path: Path) -> None:
        with started(tmp_path, DATABASE_URL=database, WEB_CONCURRENCY=WORKERS) as service:
            service.wait_until_up()
            wait_until(lambda: value(service, "gunicorn_workers") == WORKERS)
            with Load(service, service.register("maria@shop.example")) as load:
                wait_until(lambda: load.answered > 200)
                wait_until(lambda: bool(value(service, "http_requests_in_progress")))
                before, victims = samples(service, "counter", "histogram"), service.workers()
                os.kill(min(victims), signal.SIGKILL)
                wait_until(lambda: len(service.workers() - victims) == 1)
                for _ in range(20):
                    now = samples(service, "counter", "histogram")
                    assert {
                        key: (old, now.get(key)) for key, old in before.items() if now.get(key, -1) < old
                    } == {}
                    before = now
            wait_until(lambda: value(service, "http_requests_in_progress") == 0)
            wait_until(lambda: value(service, "gunicorn_workers") == WORKERS)
            assert value(service, "gunicorn_workers_started_total") == WORKERS + 1
            assert value(service, "gunicorn_worker_exits_total", reason="signal") == 1
            assert value(service, "gunicorn_worker_exits_total", reason="normal") == 0
            assert service.stop() == 0

    def test_leaves_no_files_of_its_own(self, database: str, tmp_path: Path) -> None:
        """Three times all of them are replaced: each would leave two files for ever."""
        with started(tmp_path, DATABASE_URL=database, WEB_CONCURRENCY=2) as service:
            service.wait_until_up()
            folder = service.folder / "data/metrics" / str(service.metrics_port)
            ended: set[int] = set()
            for _ in range(3):
                assert get(f"{service.url}{ROUTE}").status_code == 200
                old = service.workers()
                ended |= old
                service.send(signal.SIGHUP)
                wait_until(partial(replaced, service, ended))
            labels = {"method": "GET", "route": ROUTE, "status": "200"}
            assert value(service, "http_requests_total", **labels) == 3
            # One whose files a scrape has kept from being folded is made up for when the next one ends.
            left = [path.name for path in folder.glob("*_*.db") if int(path.stem.rpartition("_")[2]) in ended]
            assert len(left) <= 4
            assert {"counter_0.db", "histogram_0.db"} <= {path.name for path in folder.iterdir()}

    def test_one_that_hangs_is_counted_as_timeout(self, database: str, tmp_path: Path) -> None:
        """By SIGSTOP, as an event loop that is stuck; the time-out is the service's own, made short."""
        with started(
            tmp_path, module=(impatient.__name__,), DATABASE_URL=database, WEB_CONCURRENCY=1
        ) as service:
            service.wait_until_up()
            [victim] = service.workers()
            os.kill(victim, signal.SIGSTOP)
            hurry = service.folder / impatient.HURRY
            hurry.touch()
            wait_until(lambda: not alive(victim))
            hurry.unlink()
            # More than one where the next was taken for dead, too, before that.
            wait_until(lambda: bool(value(service, "gunicorn_worker_exits_total", reason="timeout")))
            assert value(service, "gunicorn_worker_exits_total", reason="signal") == 0
            wait_until(lambda: service.workers() not in ({victim}, set()))


class TestExporter:
    def test_is_started_again(self, database: str, tmp_path: Path) -> None:
        with started(tmp_path, DATABASE_URL=database) as service:
            service.wait_until_up()
            service.wait_for("metrics.served")
            [exporter] = [
                child
                for child in service.descendants()
                if [each.laddr.port for each in child.net_connections()] == [service.metrics_port]
            ]
            # A fork, which looks like a worker but for its name.
            assert exporter.name() == "metrics"
            exporter.send_signal(signal.SIGKILL)
            service.wait_for("metrics.served", 2)
            assert "gunicorn_workers" in service.metrics()
            assert service.stop() == 0
            assert not psutil.pid_exists(exporter.pid)

    @pytest.mark.parametrize("beside", abandoning.BESIDE.values(), ids=abandoning.BESIDE)
    def test_nothing_stays_of_a_service_that_is_killed_at_its_start(
        self, database: str, tmp_path: Path, beside: str
    ) -> None:
        """Before what it has started beside itself can look whose child it is."""
        module = (abandoning.__name__,)
        settings: dict[str, Any] = {"ENVIRONMENT": "development", "ABANDONED": beside}
        with started(tmp_path, module=module, DATABASE_URL=database, **settings) as service:
            assert service.ended() == -signal.SIGKILL
            left = int((service.folder / abandoning.LEFT).read_text())
            try:
                wait_until(lambda: not alive(left))
            finally:
                with suppress(ProcessLookupError):
                    os.kill(left, signal.SIGKILL)


class TestEverything:
    def test_of_the_api(self, database: str, tmp_path: Path) -> None:
        with started(tmp_path, DATABASE_URL=database) as service:
            service.wait_until_up()
            service.register("maria@shop.example")
            assert get(f"{service.url}/api/v1/nothing").status_code == 404
            wait_until(lambda: families(service).keys() >= API)
            # Of a single process it would say nothing, or something else at each scrape.
            assert not any(name.startswith("python_") for name in families(service))
            assert remarks(service.metrics()) == ""
            assert_problem(get(f"{service.url}/metrics"), 404, "not_found")

    def test_of_a_worker(self, database: str, tmp_path: Path) -> None:
        with started(tmp_path, module=("service", "worker"), DATABASE_URL=database) as worker:
            worker.wait_until_up()
            wait_until(lambda: families(worker).keys() >= WORKER)
            assert remarks(worker.metrics()) == ""
            assert get(f"{worker.url}/metrics").status_code == 404
            assert worker.stop() == 0

    def test_what_an_earlier_run_counted_is_gone(self, database: str, tmp_path: Path) -> None:
        with started(tmp_path, DATABASE_URL=database) as service:
            service.wait_until_up()
            assert get(f"{service.url}{ROUTE}").status_code == 200
            labels = {"method": "GET", "route": ROUTE, "status": "200"}
            wait_until(lambda: value(service, "http_requests_total", **labels) == 1)
            assert service.stop() == 0
            port = service.metrics_port
        with started(tmp_path, DATABASE_URL=database, METRICS_PORT=port) as service:
            service.wait_until_up()
            wait_until(lambda: value(service, "gunicorn_workers") == 2)
            assert value(service, "http_requests_total", **labels) is None
