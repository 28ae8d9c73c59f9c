"""Folders that are full: requests are answered, and a worker that ends is replaced."""

import os
import signal
from pathlib import Path

import httpx2
import pytest

from tests.helpers.waiting import wait_until
from tests.platform.telemetry.full_folder import fill
from tests.server.process import started

pytestmark = pytest.mark.slow

UNSHARE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
#: With room for what the processes begin with, and little more.
MOUNT = 'mount -t tmpfs -o size=1M tmpfs "$1" && shift && exec "$@"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "metrics"
    made.mkdir()
    return made


def seen_by(pid: int, path: Path) -> Path:
    """The file as this process has it, which is in a mount namespace of its own."""
    return Path(f"/proc/{pid}/root{path}")


def test_a_full_folder_of_metrics_ends_no_worker(tmp_path: Path, database: str, folder: Path) -> None:
    wrapper = (*UNSHARE, "sh", "-c", MOUNT, "sh", str(folder))
    with started(
        tmp_path, wrapper=wrapper, DATABASE_URL=database, PROMETHEUS_MULTIPROC_DIR=folder
    ) as service:
        service.wait_until_up()
        wait_until(lambda: len(service.workers()) == 2)
        first = service.workers()
        other = fill(seen_by(service.process.pid, folder))
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(service.workers() - first) == 2)
        second = service.workers()
        for path in ("/api/v1/items", "/readyz", "/api/v1/items/categories"):
            assert httpx2.get(f"{service.url}{path}", timeout=60).status_code == 200
        [line, *_] = service.wait_for("metrics.not_written")
        assert (line["level"], line["cause"]) == ("warning", "the folder of the metrics is full")
        other.unlink()
        wait_until(lambda: 'route="/api/v1/items"' in service.metrics())
        assert service.workers() == second
        assert [each["event"] for each in service.lines() if "SIGBUS" in each["event"]] == []
        assert service.stop() == 0
