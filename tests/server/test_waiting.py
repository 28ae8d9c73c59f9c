"""`tradepost serve` before the migration: alive, not ready, and quiet."""

import os
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from service.platform.config import generate_key
from tests.helpers.not_ready import NO_SCHEMA, NOW, waiting
from tests.helpers.proxy import proxy_before
from tests.helpers.waiting import wait_until
from tests.server.process import cloned_database, get, started, statement, tradepost

#: Long enough for several looks at the database.
FEW_SECONDS = 3


def test_it_waits_for_the_migration_and_says_so_once(tmp_path: Path) -> None:
    key = generate_key()
    with (
        cloned_database(template=None) as url,
        started(tmp_path, DATABASE_URL=url, ENVIRONMENT="production", SECRET_KEY=key) as service,
    ):
        service.wait_until_up("/startupz")
        service.wait_for("service.held_up")
        wait_until(lambda: len(service.workers()) == 2)
        time.sleep(FEW_SECONDS)
        for path in ("/startupz", "/livez", "/health"):
            assert get(f"{service.url}{path}").status_code == 200
        answer = get(f"{service.url}/readyz")
        assert (answer.status_code, answer.headers["retry-after"], answer.json()) == (
            503,
            "1",
            waiting(NO_SCHEMA, schema_revision=None, listening=False),
        )
        # One line for both workers.
        [line] = [line for line in service.lines() if line["level"] != "info"]
        assert (line["event"], line["level"], line["cause"]) == ("service.held_up", "warning", NO_SCHEMA)
        assert (line["schema_revision"], line["required_revision"]) == (None, NOW)
        assert tradepost(tmp_path, "migrate", DATABASE_URL=url, ENVIRONMENT="production").returncode == 0
        service.wait_until_up()
        wait_until(lambda: len(service.events("changes.subscribed")) == 2)
        assert [line["schema_revision"] for line in service.events("startup.completed")] == [NOW]
        assert service.stop() == 0
        assert [line["event"] for line in service.lines() if line["level"] != "info"] == ["service.held_up"]
        assert service.stderr == ""


@pytest.mark.slow
def test_a_worker_that_takes_the_place_of_another_in_an_outage_is_ready(tmp_path: Path) -> None:
    """It has never seen the schema; the service has."""
    key = generate_key()
    with (
        cloned_database() as url,
        proxy_before(url) as (proxy, through),
        started(
            tmp_path, DATABASE_URL=through, ENVIRONMENT="production", SECRET_KEY=key, WEB_CONCURRENCY=1
        ) as service,
    ):
        service.wait_until_up()
        [first] = service.workers()
        proxy.cut()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(service.booted()) == 2 and service.answers("/livez"))
        answer = get(f"{service.url}/readyz")
        assert (answer.status_code, answer.json()) == (
            200,
            {"status": "ready", "database": "down", "draining": False},
        )
        assert service.events("service.held_up") == []
        assert service.stop() == 0


@pytest.mark.slow
def test_a_worker_that_waits_for_a_primary_says_so(tmp_path: Path) -> None:
    key = generate_key()
    with cloned_database() as url:
        name = urlsplit(url).path[1:]
        statement(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with started(
            tmp_path,
            module=("service", "worker"),
            DATABASE_URL=url,
            ENVIRONMENT="production",
            SECRET_KEY=key,
        ) as worker:
            worker.wait_until_up("/startupz")
            [line] = worker.wait_for("worker.held_up")
            assert line["cause"] == "DATABASE_URL: the database takes no changes"
            answer = get(f"{worker.url}/readyz")
            assert (answer.status_code, answer.json()["cause"]) == (503, line["cause"])
            assert worker.stop() == 0
