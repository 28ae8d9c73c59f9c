"""`tradepost worker` as an operator starts it, and the one that a developer has without being asked."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from service import events
from service.platform.config import Settings
from service.platform.database import Database
from service.platform.telemetry import request_facts
from service.platform.telemetry.request_facts import RequestFacts
from tests.conftest import for_sqlalchemy
from tests.helpers.not_ready import NO_SCHEMA, NOW, waiting
from tests.helpers.waiting import wait_until
from tests.server.process import Service, alive, cloned_database, get, started, tradepost

WORKER = ("service", "worker")


@pytest.fixture
def url() -> Iterator[str]:
    with cloned_database() as url:
        yield url


def raise_event(url: str, request_id: str) -> None:
    """As a request with this id would."""

    async def add() -> None:
        request_facts.begin(RequestFacts(request_id, request_id))
        settings = Settings(environment="test", database_url=for_sqlalchemy(url))
        database = Database(for_sqlalchemy(url), settings)
        try:
            async with database.transaction() as session:
                await events.publish(session, "item.updated", object_id=1, data={})
        finally:
            await database.close()

    with asyncio.Runner() as runner:
        runner.run(add())


def metrics(worker: Service) -> str:
    return get(f"http://127.0.0.1:{worker.metrics_port}/metrics").text


class TestCommand:
    def test_works_serves_probes_and_ends(self, tmp_path: Path, url: str) -> None:
        flag = tmp_path / "drain"
        flag.touch()
        with started(tmp_path, module=WORKER, DATABASE_URL=url, DRAIN_FILE=flag) as worker:
            worker.wait_until_up()
            assert not flag.exists()
            raise_event(url, "asked-for-1")
            wait_until(lambda: any(line["job"] == "event" for line in worker.events("job.ended")))
            [ended] = [line for line in worker.events("job.ended") if line["job"] == "event"]
            assert (ended["outcome"], ended["attempt"], ended["request_id"]) == ("done", 1, "asked-for-1")
            exposed = metrics(worker)
            assert 'jobs_total{kind="event",outcome="done"} 1.0' in exposed
            assert 'events_total{outcome="handed_on",type="item.updated"} 1.0' in exposed
            # Added up in memory, and written several times a second.
            wait_until(lambda: 'job_duration_seconds_count{kind="event"} 1.0' in metrics(worker))
            self.assert_probes(worker)
            assert worker.stop() == 0
            assert [line["handed_back"] for line in worker.events("worker.stopped")] == [0]
            assert {line.get("process") for line in worker.lines()} == {"worker"}
            assert worker.stderr == ""

    def assert_probes(self, worker: Service) -> None:
        alive = get(f"{worker.url}/livez")
        assert (alive.status_code, alive.headers["cache-control"]) == (200, "no-store")
        ready = get(f"{worker.url}/readyz")
        assert (ready.status_code, ready.json()) == (
            200,
            {"status": "ready", "database": "up", "draining": False},
        )
        started = get(f"{worker.url}/startupz")
        assert (started.status_code, started.json()) == (200, {"status": "started"})
        head = httpx2.head(f"{worker.url}/startupz/")
        assert (head.status_code, head.content) == (200, b"")
        assert get(f"{worker.url}/api/v1/items").status_code == 404

    def test_waits_for_the_schema(self, tmp_path: Path) -> None:
        with (
            cloned_database(template=None) as url,
            started(tmp_path, module=WORKER, DATABASE_URL=url) as worker,
        ):
            [line] = worker.wait_for("worker.held_up")
            assert (line["level"], line["cause"], line["required_revision"]) == ("warning", NO_SCHEMA, NOW)
            probe = get(f"{worker.url}/readyz")
            found = (probe.status_code, probe.json())
            assert found == (503, waiting(NO_SCHEMA, schema_revision=None, listening=False))
            for path in ("/livez", "/startupz"):
                assert get(f"{worker.url}{path}").status_code == 200
            assert worker.events("worker.started") == []
            assert tradepost(tmp_path, "migrate", DATABASE_URL=url).returncode == 0
            worker.wait_until_up()
            assert worker.stop() == 0
            assert [line["schema_revision"] for line in worker.events("startup.completed")] == [NOW]
            assert [line["event"] for line in worker.lines() if line["level"] != "info"] == ["worker.held_up"]

    def test_metrics_are_its_own_whatever_its_pod_says(self, tmp_path: Path, url: str) -> None:
        nowhere = "/nowhere/to/be/found"
        with started(tmp_path, module=WORKER, DATABASE_URL=url, PROMETHEUS_MULTIPROC_DIR=nowhere) as worker:
            worker.wait_until_up()
            assert "\nprocess_resident_memory_bytes " in worker.metrics()
            assert worker.stop() == 0

    def test_a_port_that_is_taken(self, tmp_path: Path, url: str) -> None:
        with started(tmp_path / "one", module=WORKER, DATABASE_URL=url) as one:
            one.wait_until_up("/livez")
            with started(tmp_path / "two", module=WORKER, DATABASE_URL=url, PORT=one.port) as other:
                assert other.ended() == 1
                assert [line["port"] for line in other.events("probes.not_served")] == [one.port]


class TestCompanion:
    def worker(self, service: Service, times: int) -> psutil.Process:
        service.wait_for("worker.started", times)
        [worker] = [child for child in service.descendants() if "worker" in child.cmdline()]
        return worker

    def test_lives_and_ends_with_the_service(self, tmp_path: Path, url: str) -> None:
        with started(tmp_path, ENVIRONMENT="development", DATABASE_URL=url, WEB_CONCURRENCY=1) as service:
            service.wait_until_up()
            first = self.worker(service, 1)
            first.kill()
            assert [line["status"] for line in service.wait_for("worker.lost")] == [-signal.SIGKILL]
            second = self.worker(service, 2)
            # Threads of the service's process and of the living worker, and of no other.
            wait_until(lambda: "\nthread_pool_limit 80.0\n" in service.metrics())
            everything = {second.pid, *(child.pid for child in service.descendants())}
            assert service.stop() == 0
            wait_until(lambda: not any(map(alive, everything)))
            assert len(service.events("worker.stopped")) == 1

    def test_is_not_left_behind_by_one_that_is_killed(self, tmp_path: Path, url: str) -> None:
        with started(tmp_path, ENVIRONMENT="development", DATABASE_URL=url, WEB_CONCURRENCY=1) as service:
            worker = self.worker(service, 1)
            keeper = worker.ppid()
            service.send(signal.SIGKILL)
            wait_until(lambda: not alive(worker.pid) and not alive(keeper))
