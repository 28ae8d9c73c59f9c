"""Whatever happens to a process, each line of its standard output is JSON with the promised fields."""

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.helpers.client import V1
from tests.helpers.collector import Collector
from tests.helpers.waiting import wait_until
from tests.server.process import Service, cloned_database, started, statement, tradepost

pytestmark = pytest.mark.slow

FIRST = ["ts", "level", "event", "logger"]
#: Of a request, beside the first.
OF_REQUESTS = {"method", "route", "status", "duration_ms", "user_id", "client", "request_id"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
LEVELS = {"debug", "info", "warning", "error", "critical"}
CANARY = "Canary-pass-9x1"
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


@pytest.fixture
def database() -> Iterator[str]:
    with cloned_database() as url:
        yield url


def checked(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines
    for line in lines:
        assert list(line)[:4] == FIRST, line
        assert MOMENT.fullmatch(line["ts"]), line
        assert line["level"] in LEVELS, line
        assert all(isinstance(line[name], str) and line[name] for name in FIRST), line
        if line["event"] == "request.answered":
            assert line.keys() >= OF_REQUESTS
    assert CANARY not in text
    return lines


def profile(service: Service, token: str) -> int:
    with service.client(token) as client:
        return int(client.get("/users/profile", headers=TRACEPARENT).json()["id"])


def test_the_service_with_every_kind_of_fault(database: str, tmp_path: Path) -> None:
    collector = Collector()
    try:
        with started(
            tmp_path, DATABASE_URL=database, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, LOG_LEVEL="DEBUG"
        ) as service:
            service.wait_until_up()
            token = service.register("maria@shop.example")
            maria = profile(service, token)
            wrong = service.sign_in("maria@shop.example", CANARY)
            assert wrong.status_code == 400
            statement(database, "ALTER TABLE posts RENAME TO hidden")
            failed = httpx2.get(f"{service.url}{V1}/posts", headers=TRACEPARENT)
            assert failed.status_code == 500
            statement(database, "ALTER TABLE hidden RENAME TO posts")
            victims = service.workers()
            os.kill(min(victims), signal.SIGKILL)
            wait_until(lambda: len(service.workers() - victims) == 1)
            assert service.stop() == 0
            lines, stderr = checked(service.stdout), service.stderr
    finally:
        collector.close()
    # For people, and nothing else: where it is, told once.
    assert [line.partition(":")[0] for line in stderr.splitlines()] == ["Tradepost"]
    [answered] = [line for line in lines if line.get("route") == f"{V1}/users/profile"]
    assert (answered["user_id"], answered["trace_id"]) == (maria, TRACE)
    assert len(answered["span_id"]) == 16
    [fault] = [line for line in lines if line["event"] == "request.failed"]
    [its_answer] = [line for line in lines if line.get("status") == 500 and "duration_ms" in line]
    assert {name: fault[name] for name in ("method", "route", "status", "trace_id", "span_id")} == {
        name: its_answer[name] for name in ("method", "route", "status", "trace_id", "span_id")
    }
    assert fault["trace_id"] == TRACE
    assert fault["request_id"] == its_answer["request_id"] == failed.headers["x-request-id"]
    assert any("SIGKILL" in line["event"] for line in lines)
    assert {line["event"] for line in lines} >= {"service.started", "service.stopped", "metrics.served"}
    assert all(line.keys() >= {"trace_id", "span_id"} for line in lines if line.get("trace_id"))


def test_a_worker(database: str, tmp_path: Path) -> None:
    with started(tmp_path, module=("service", "worker"), DATABASE_URL=database) as worker:
        worker.wait_until_up()
        # One whose payload is none: its attempt fails, with a traceback.
        statement(
            database,
            "INSERT INTO pgqueuer (priority, entrypoint, payload, status) VALUES (0, 'mail', '{}', 'queued')",
        )
        worker.wait_for("job.attempt_failed")
        assert worker.stop() == 0
        lines = checked(worker.stdout)
    assert {line["event"] for line in lines} >= {"worker.started", "worker.asked_to_stop", "worker.stopped"}
    [fault] = [line for line in lines if line["event"] == "job.attempt_failed"]
    assert fault["exception"].endswith("KeyError: 'mail_id'")
    assert {line["process"] for line in lines if line["logger"].startswith("service.platform.jobs")} == {
        "worker"
    }


@pytest.mark.parametrize("command", ["serve", "worker", "migrate"])
def test_a_start_that_is_refused(tmp_path: Path, command: str) -> None:
    refused = tradepost(tmp_path, command, ENVIRONMENT="production", SECRET_KEY=CANARY, PORT="none")
    assert refused.returncode == 78
    [line] = checked(refused.stdout)
    assert (line["level"], line["event"]) == ("critical", "configuration.refused")
    assert [fault.partition(":")[0] for fault in line["faults"]] == ["PORT", "DATABASE_URL", "SECRET_KEY"]
    assert CANARY not in refused.stderr


def test_a_start_that_fails(database: str, tmp_path: Path) -> None:
    """The settings are good, and the port is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started(tmp_path, DATABASE_URL=database, PORT=port) as service:
            assert service.ended() == 1
            lines = checked(service.stdout)
    assert lines[-1]["event"] == f"Can't connect to ('127.0.0.1', {port})"
    assert (lines[-1]["level"], lines[-1]["logger"]) == ("error", "gunicorn.error")


def test_a_worker_that_cannot_be_loaded(database: str, tmp_path: Path) -> None:
    """Whatever is wrong with it is one line with a traceback, and not a text over many."""
    with started(
        tmp_path, module=("tests.server.broken",), DATABASE_URL=database, WEB_CONCURRENCY=4
    ) as service:
        assert service.ended() == 3
        lines = checked(service.stdout)
        # It ended as ever, and took the process that serves metrics with it.
        assert lines[-1]["event"] == "Reason: Worker failed to boot."
        assert "Traceback" not in service.stderr
    faults = [line["exception"] for line in lines if line["event"] == "Exception in worker process"]
    assert faults
    assert all(fault.endswith("RuntimeError: it cannot be loaded") for fault in faults)


def test_people_get_no_json(tmp_path: Path) -> None:
    refused = tradepost(tmp_path, "serve", ENVIRONMENT="production", LOG_FORMAT="console")
    assert (refused.returncode, refused.stdout) == (78, "")
