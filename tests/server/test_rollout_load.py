"""The load under which an upgrade is tried counts every request, and says when one fails."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

import asyncpg
import pytest

from tests.helpers.http_server import serving
from tests.helpers.waiting import wait_until
from tests.server.process import PASSWORD, REPOSITORY, Service, cloned_database, started, statement, tradepost

pytestmark = pytest.mark.slow


ADMINISTRATOR = {"ADMIN_EMAIL": "admin@shop.example", "ADMIN_PASSWORD": PASSWORD}


def asking(
    url: str, seconds: int, *options: str, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "tools/rollout_load",
        url,
        "--seconds",
        str(seconds),
        "--clients",
        "4",
        *options,
    ]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"4 clients are asking {url}\n"
    return process


def counted(database: str, rows: str) -> int:
    async def count() -> int:
        connection = await asyncpg.connect(database)
        try:
            found: int = await connection.fetchval(f"SELECT count(*) FROM {rows}")
            return found
        finally:
            await connection.close()

    return asyncio.run(count())


def test_a_service_that_serves_passes_and_one_that_dies_does_not(tmp_path: Path) -> None:
    with cloned_database() as database, started(tmp_path, DATABASE_URL=database) as service:
        service.wait_until_up()
        process = asking(service.url, 60)
        service.wait_for("request.answered", 100)
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=60)[0]
        assert process.returncode == 0, told
        found = re.search(r"(\d+) requests answered as they should be, 0 failed", told)
        assert found is not None, told
        # Its accounts are gone as well.
        for way in ("kept", "new"):
            assert re.search(rf"2 DELETE /users/profile \({way} connection\)", told), told
        assert counted(database, "users WHERE is_active") == 0
        for way in ("kept", "new"):
            for route in ("POST /auth/token", "GET /items", "GET /users/profile", "PATCH /users/profile"):
                assert re.search(rf"[1-9]\d* {route}\S* \({way} connection\)", told), told

        process = asking(service.url, 60)
        service.send(signal.SIGKILL)
        for worker in service.descendants():
            worker.kill()
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=60)[0]
        assert process.returncode == 1, told
        assert "FAIL" in told
        assert "ConnectError" in told


@contextmanager
def shop(folder: Path) -> Iterator[tuple[Service, str]]:
    """A service with an administrator, and its database."""
    with cloned_database() as database:
        assert tradepost(folder, "migrate", DATABASE_URL=database, **ADMINISTRATOR).returncode == 0
        with started(folder, DATABASE_URL=database) as service:
            yield service.wait_until_up("/readyz"), database


def ordering(service: Service, *options: str) -> subprocess.Popen[str]:
    return asking(service.url, 60, *options, environment=ADMINISTRATOR)


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=90)[0]
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found | {"told": told}


def orders_are(database: str, many: int) -> None:
    """Until so many orders have been placed."""
    wait_until(lambda: counted(database, "orders") >= many)


def test_orders_that_were_placed_are_found_again_once_each(tmp_path: Path) -> None:
    with shop(tmp_path) as (service, database):
        process = ordering(service)
        orders_are(database, 20)
        found = result(process)
    assert process.returncode == 0, found["told"]
    assert found["orders"] >= 20
    assert (found["failed"], found["refused"], found["wrong"]) == (0, 0, 0)


def test_an_outage_may_refuse_requests_and_lose_no_order(tmp_path: Path) -> None:
    with shop(tmp_path) as (service, database):
        process = ordering(service, "--outages")
        orders_are(database, 8)
        for turn in range(2):
            for worker in service.descendants():
                if worker.pid in service.workers():
                    worker.kill()
            kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            statement(database, f"{kill} AND pid <> pg_backend_pid()")
            orders_are(database, 16 + 8 * turn)
        found = result(process)
    assert process.returncode == 0, found["told"]
    assert found["refused"] > 0
    assert found["orders"] >= 24
    assert (found["failed"], found["wrong"]) == (0, 0)


def test_an_order_that_is_lost_fails(tmp_path: Path) -> None:
    with shop(tmp_path) as (service, database):
        process = ordering(service)
        orders_are(database, 8)
        # As if it had never been theirs, past what the database itself refuses.
        statement(
            database,
            "SET session_replication_role = replica",
            "UPDATE orders SET reference = 'lost' WHERE id = (SELECT min(id) FROM orders)",
        )
        found = result(process)
    assert process.returncode == 1, found["told"]
    assert found["wrong"] == 2
    assert "order missing: ('rollout-" in found["told"]
    assert "order not expected: ('lost', 'cancelled')" in found["told"]


#: What the service answers, as far as it is looked at.
USUAL: dict[str, tuple[int, Any]] = {
    "POST /users": (201, {}),
    "POST /auth/token": (200, {"token_type": "Bearer"}),
    "GET /items": (200, []),
    "GET /users/profile": (200, {}),
    "PATCH /users/profile": (200, {}),
    "DELETE /users/profile": (204, None),
}


@contextmanager
def answering(strange: str, status: int, document: object) -> Iterator[str]:
    """Something that answers as the service does, but for one operation; its address."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            operation = f"{self.command} {self.path.removeprefix('/api/v1').partition('?')[0]}"
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            usual, shown = USUAL[operation]
            if operation == "POST /auth/token":  # the token says whose it is
                shown = {**shown, "access_token": parse_qs(body.decode())["username"][0]}
            elif operation.endswith("/profile") and shown is not None:
                email = self.headers.get("Authorization", "").removeprefix("Bearer ")
                shown = {"email": email, **json.loads(body or b"{}")}
            answered, shown = (status, document) if operation == strange else (usual, shown)
            content = b"" if shown is None else json.dumps(shown).encode()
            self.send_response(answered)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - so the library calls them

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        yield url


@pytest.mark.parametrize(
    ("operation", "status", "document", "reason"),
    [
        ("DELETE /users/profile", 422, {"code": "invalid_input"}, "422, not 204: "),
        # A success of another kind is none: something before the service may have answered.
        ("DELETE /users/profile", 200, {}, "200, not 204: "),
        ("PATCH /users/profile", 202, {}, "202, not 200 with {'full_name': 'Roll Out 0'}: "),
        ("PATCH /users/profile", 200, {"full_name": "Maria"}, "200, not 200 with {'full_name': "),
        ("GET /users/profile", 200, {"email": "maria@shop.example"}, "200, not 200 with {'email': "),
        ("GET /users/profile", 200, "Welcome", "200, not 200 with {'email': "),
        ("GET /items", 302, None, "302, not 200: "),
        ("POST /auth/token", 200, {}, "200, not 200 with {'token_type': 'Bearer'}: "),
    ],
)
def test_any_other_answer_than_the_expected_one_fails(
    operation: str, status: int, document: object, reason: str
) -> None:
    with answering(operation, status, document) as url:
        process = asking(url, 0)
        told = process.communicate(timeout=60)[0]
    assert process.returncode == 1, told
    failures = [line for line in told.splitlines() if line.startswith("FAIL") and operation in line]
    assert [reason in line for line in failures] == [True] * 4, told


def test_nothing_fails_where_all_are_as_expected() -> None:
    with answering("GET /livez", 500, None) as url:
        process = asking(url, 0)
        told = process.communicate(timeout=60)[0]
    assert process.returncode == 0, told
    assert "20 requests answered as they should be, 0 failed" in told
