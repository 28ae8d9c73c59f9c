"""`tradepost serve`, as one process group: Gunicorn's master, its workers and the metrics' child."""

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.platform.config import generate_key
from tests.helpers.client import assert_problem
from tests.helpers.waiting import wait_until
from tests.server.process import Service, cloned_database, free_port, get, started, statement, tradepost

_numbers = count(1)


@pytest.fixture(scope="module")
def service(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Three workers, shared by tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("serve")
    with started(folder, DATABASE_URL=database, WEB_CONCURRENCY=3) as service:
        service.wait_until_up().wait_for("metrics.served")
        yield service


def counted(service: Service, route: str) -> float:
    """What the metrics say about a route: requests answered, over all workers."""
    text = get(f"http://127.0.0.1:{service.metrics_port}/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    if "http_requests" not in families:
        return 0
    samples = families["http_requests"].samples
    return sum(sample.value for sample in samples if sample.labels["route"] == route)


class TestServing:
    def test_as_many_workers_as_asked_for(self, service: Service) -> None:
        wait_until(lambda: len(service.workers()) == 3)
        assert len(service.wait_for("service.started", 3)) == 3

    def test_keeps_its_files_in_data_dir(self, service: Service) -> None:
        data = service.folder / "data"
        assert sorted(path.name for path in data.iterdir()) == ["metrics", "secret-key"]
        assert not (service.folder / ".data").exists()

    def test_says_where_it_is_to_people_only(self, service: Service) -> None:
        assert service.stderr == f"Tradepost: {service.url}/  API documentation: {service.url}/docs\n"
        assert service.url + "/docs" not in service.stdout

    def test_answers_are_ours_alone(self, service: Service) -> None:
        answer = get(f"{service.url}/health")
        assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
        assert "server" not in answer.headers


class TestMetrics:
    def test_are_summed_over_the_workers(self, service: Service) -> None:
        folder = service.folder / "data" / "metrics" / str(service.metrics_port)
        route, before = "/.well-known/jwks.json", counted(service, "/.well-known/jwks.json")
        asked = 0

        def two_workers_have_counted() -> bool:
            nonlocal asked
            asked += 1
            assert get(f"{service.url}{route}").status_code == 200
            files = folder.glob("counter_*.db")
            return [route.encode() in file.read_bytes() for file in files].count(True) >= 2

        wait_until(two_workers_have_counted)
        wait_until(lambda: counted(service, route) == before + asked)

    def test_are_not_on_the_public_port(self, service: Service) -> None:
        assert_problem(get(f"{service.url}/metrics"), 404, "not_found")


class TestLog:
    def test_a_request_is_one_line(self, service: Service) -> None:
        request_id = f"request-{os.getpid()}-{next(_numbers)}"
        get(f"{service.url}/api/v1/users/1?page=1", headers={"X-Request-ID": request_id})
        wait_until(lambda: request_id in service.stdout)
        [line] = [line for line in service.lines() if line.get("request_id") == request_id]
        assert line.pop("ts").endswith("Z")
        assert line.pop("duration_ms") > 0
        assert line == {
            "level": "info",
            "event": "request.answered",
            "logger": "access",
            "method": "GET",
            "route": "/api/v1/users/{user_id}",
            "status": 401,
            "user_id": None,
            "client": "127.0.0.1",
            "request_id": request_id,
        }

    def test_lines_of_requests_take_the_short_way(self, service: Service) -> None:
        """Past logging and structlog, which take as long as a cached response: they write no zeros at the end
        of a number, and this writes three decimals.
        """
        for number in range(60):
            get(f"{service.url}/", headers={"X-Request-ID": f"short-way-{number}"})
        wait_until(lambda: "short-way-59" in service.stdout)
        durations = re.findall(r'"duration_ms": ([\d.]+), .*"request_id": "short-way-', service.stdout)
        assert len(durations) == 60
        assert [each for each in durations if not re.fullmatch(r"\d+\.\d{3}", each)] == []

    def test_probes_leave_no_line(self, service: Service) -> None:
        for probe in ("/livez", "/readyz", "/startupz", "/health"):
            assert get(f"{service.url}{probe}").status_code == 200
        get(f"{service.url}/", headers={"X-Request-ID": "after-the-probes"})
        wait_until(lambda: "after-the-probes" in service.stdout)
        routes = {line["route"] for line in service.events("request.answered")}
        assert "/" in routes
        assert routes.isdisjoint({"/livez", "/readyz", "/startupz", "/health"})

    def test_a_fault_is_one_line_with_its_traceback(self, service: Service, database: str) -> None:
        statement(database, "ALTER TABLE posts RENAME TO hidden")
        try:
            answer = get(f"{service.url}/api/v1/posts")
        finally:
            statement(database, "ALTER TABLE hidden RENAME TO posts")
        problem = assert_problem(answer, 500, "internal_error")
        wait_until(lambda: problem["instance"] in service.stdout)
        [line] = service.events("request.failed")
        assert (line["level"], line["logger"]) == ("error", "service.platform.http.context")
        assert line["request_id"] == problem["instance"]
        assert 'relation "posts" does not exist' in line["exception"]
        assert "service/posts/repository.py" in line["exception"]
        assert service.stderr.count("\n") == 1

    def test_a_killed_worker_is_logged_and_replaced(self, service: Service) -> None:
        route = "/.well-known/jwks.json"
        known = counted(service, route)
        get(f"{service.url}{route}")
        wait_until(lambda: counted(service, route) > known)
        before, counted_before = service.workers(), counted(service, route)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(service.workers() - before) == 1)
        [line] = [line for line in service.lines() if f"(pid:{victim}) was sent SIGKILL" in line["event"]]
        assert (line["level"], line["logger"]) == ("error", "gunicorn.error")
        assert service.answers()
        assert counted(service, route) == counted_before

    def test_every_line_has_what_every_line_has(self, service: Service) -> None:
        lines = service.lines()
        assert {"gunicorn.error", "uvicorn.error", "service.main"} <= {line["logger"] for line in lines}
        for line in lines:
            assert list(line)[:4] == ["ts", "level", "event", "logger"]


class TestSettings:
    def test_every_fault_is_listed_and_no_value(self, tmp_path: Path) -> None:
        refused = tradepost(
            tmp_path, "serve", ENVIRONMENT="production", PORT="abcport", SECRET_KEY="tooshort", SAMPLE="true"
        )
        assert refused.returncode == 78
        first, *faults = refused.stderr.splitlines()
        assert first == "The configuration is not usable:"
        assert [fault.split(":")[0].strip() for fault in faults] == [
            "PORT",
            "SAMPLE",
            "DATABASE_URL",
            "SECRET_KEY",
        ]
        assert "abcport" not in refused.stderr
        assert "tooshort" not in refused.stderr
        [line] = [json.loads(line) for line in refused.stdout.splitlines()]
        assert (line["level"], line["event"]) == ("critical", "configuration.refused")
        assert line["faults"] == [fault.strip() for fault in faults]

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "data").touch()
        refused = tradepost(tmp_path, "serve", SECRET_KEY=generate_key(), DATABASE_URL="postgresql://x/y")
        assert refused.returncode == 78
        assert "DATA_DIR: cannot keep the metrics' files (Not a directory)" in refused.stderr


@pytest.mark.slow
class TestTroubleAtTheStart:
    def test_port_in_use(self, tmp_path: Path) -> None:
        """With the embedded PostgreSQL, which must not stay behind."""
        with socket.create_server(("127.0.0.1", free_port())) as taken:
            port = taken.getsockname()[1]
            with started(tmp_path, ENVIRONMENT="development", PORT=port) as service:
                wait_until(lambda: any("postgres" in child.name() for child in service.descendants()))
                children = service.descendants()
                assert service.ended() == 1
        assert not any(child.is_running() for child in children)
        errors = [line["event"] for line in service.lines() if line["level"] == "error"]
        assert f"Can't connect to ('127.0.0.1', {port})" in errors

    def test_metrics_port_in_use(self, tmp_path: Path) -> None:
        with cloned_database() as url, socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with started(tmp_path, DATABASE_URL=url, METRICS_PORT=port) as service:
                service.wait_until_up()
                [line] = service.wait_for("metrics.not_served")
                assert (line["level"], line["port"]) == ("error", port)
                assert line["reason"] == "Address already in use"
                assert service.answers("/health")
                assert service.stop() == 0

    def test_database_is_down(self, tmp_path: Path) -> None:
        nowhere = f"postgresql://shop:s3cret-word@127.0.0.1:{free_port()}/shop"
        key = tradepost(tmp_path, "generate-key").stdout.strip()
        with started(tmp_path, ENVIRONMENT="production", DATABASE_URL=nowhere, SECRET_KEY=key) as service:
            service.wait_until_up("/livez")
            assert get(f"{service.url}/startupz").json() == {"status": "started"}
            ready = get(f"{service.url}/readyz")
            assert (ready.status_code, ready.json()["database"]) == (503, "down")
            assert ready.json()["cause"] == "DATABASE_URL: nothing listens at this host and port"
            with service.client() as client:
                answer = client.get("/posts")
                assert_problem(answer, 503, "unavailable")
                assert answer.headers["retry-after"] == "1"
            assert service.stop() == 0
            assert "s3cret-word" not in service.stdout + service.stderr
            assert service.stderr == ""

    def test_database_is_down_where_the_service_would_migrate(self, tmp_path: Path) -> None:
        nowhere = f"postgresql://shop:s3cret-word@127.0.0.1:{free_port()}/shop"
        refused = tradepost(tmp_path, "serve", DATABASE_URL=nowhere)
        assert refused.returncode == 1
        assert refused.stderr == ("tradepost serve: DATABASE_URL: nothing listens at this host and port\n")
        assert [json.loads(line)["event"] for line in refused.stdout.splitlines()] == ["migration.failed"]
