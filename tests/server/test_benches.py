"""The benches stay below what a customer is bounded by, however many rounds they make, and end well."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.process import REPOSITORY

pytestmark = pytest.mark.slow


def test_no_customer_of_the_bench_keeps_more_than_one_order_unpaid(tmp_path: Path) -> None:
    """Each order has two lines of one unit: a second unpaid one would be refused here."""
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [
            sys.executable, "bench/compare", "--quick", "--only", "tutorial", "--rows", "item,order",
            "--output", str(figures),
        ],
        cwd=REPOSITORY,
        env=os.environ | {"RESERVED_UNITS_LIMIT": "2", "RESERVED_UNITS_LIMIT_UNVERIFIED": "2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(figures.read_text())
    assert {key: set(row["results"]) for key, row in found["rows"].items()} == {
        "item": {"tradepost", "tutorial"},
        "order": {"tradepost", "tutorial"},
    }
    assert all(each["cpu_us"] > 0 for row in found["rows"].values() for each in row["results"].values())
    assert "| order of two lines |" in done.stdout
