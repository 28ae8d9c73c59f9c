"""The short form of each proof, as `python -m proofs NAME --short` runs it."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from proofs.__main__ import NAMES
from proofs.page import ROOT

pytestmark = pytest.mark.slow

#: So that a run that fails here can be repeated.
SEED = "1"


@pytest.mark.parametrize("name", [name for name in NAMES if find_spec(f"proofs.{name}")])
def test_nothing_is_lost_doubled_or_wrong(name: str) -> None:
    command = [sys.executable, "-m", "proofs", name, "--short", "--seed", SEED]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
