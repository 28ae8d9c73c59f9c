"""A folder of metrics that is full costs values, and no process."""

import json
import subprocess
import sys
from pathlib import Path

from tests.helpers.waiting import PATIENCE_SECONDS
from tests.platform.telemetry.full_folder import KEYS
from tests.server.process import REPOSITORY
from tests.webhooks.test_namespace import UNSHARE


def test_values_that_find_no_room_are_written_when_there_is_some(tmp_path: Path) -> None:
    """The library would write to a page that is not there, which ends the process."""
    ran = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.platform.telemetry.full_folder", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    full, then = report["full"], report["then"]
    assert (report["lacked"], report["lacks"]) == (True, False)
    # What has its place in the file goes on, and so does what still fits into its last page.
    assert full["before_total-x"] == KEYS + 1
    assert len(full) < KEYS
    assert "gauge" not in full
    assert then["before_total-x"] == KEYS + 2
    counted = {f"after_total-{number}": float(number) for number in range(KEYS)} | {"after_total-0": 1.0}
    assert {name: value for name, value in then.items() if name.startswith("after_total")} == counted
    assert then["gauge"] == 8
    assert report["files"] == ["counter_", "gauge_livesum_"]
