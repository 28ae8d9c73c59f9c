"""The benches stay below what a customer is bounded by, however many rounds they make, and end well."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.process import REPOSITORY

pytestmark = pytest.mark.slow
PAGE = Path("docs") / "benchmarks" / "requests.md"


def test_no_customer_of_the_bench_keeps_more_than_one_order_unpaid(tmp_path: Path) -> None:
    """Each order has two lines of one unit: a second unpaid one would be refused here."""
    shutil.copytree(REPOSITORY / "bench", tmp_path / "bench")
    (tmp_path / PAGE).parent.mkdir(parents=True)
    shutil.copy(REPOSITORY / PAGE, tmp_path / PAGE)
    done = subprocess.run(
        [sys.executable, "bench/compared.py", "2"],
        cwd=tmp_path,
        env=os.environ
        | {
            "PYTHONPATH": str(REPOSITORY),
            "RESERVED_UNITS_LIMIT": "2",
            "RESERVED_UNITS_LIMIT_UNVERIFIED": "2",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The figures of docs/benchmarks/requests.md are written" in done.stdout
    figures = (tmp_path / PAGE).read_text()
    assert figures != (REPOSITORY / PAGE).read_text()
    assert "| an order of two lines |" in figures
