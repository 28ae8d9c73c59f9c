"""A folder of metrics that is full costs values, and no process."""

from pathlib import Path

from tests.helpers.namespaces import report_of
from tests.platform.telemetry.full_folder import KEYS


def test_values_that_find_no_room_are_written_when_there_is_some(tmp_path: Path) -> None:
    """The library would write to a page that is not there, which ends the process."""
    report = report_of("tests.platform.telemetry.full_folder", str(tmp_path))
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
