"""The load under which an upgrade is tried counts every request, and says when one fails."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.process import REPOSITORY, cloned_database, started

pytestmark = pytest.mark.slow


def asking(url: str, seconds: int) -> subprocess.Popen[str]:
    command = [sys.executable, "tools/rollout_load.py", url, "--seconds", str(seconds), "--clients", "4"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == f"4 clients are asking {url}\n"
    return process


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
