"""Each rule about imports really stops what it is there to stop."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Contract, the file that breaks it, and what stands in that file.
VIOLATIONS = [
    ("Layers:", "utils.py", ""),
    ("Layers:", "schemas/planted.py", "import service.services"),
    ("Layers:", "repositories/planted.py", "import service.schemas"),
    ("Services do not import", "services/planted.py", "import service.services.planted_too"),
    ("Routers do not import", "routers/planted.py", "import service.routers.planted_too"),
    ("The web framework", "services/planted.py", "import fastapi"),
    ("The web framework", "repositories/planted.py", "from starlette.requests import Request"),
    ("SQL stays", "routers/planted.py", "from sqlalchemy import select"),
    ("SQL stays", "services/planted.py", "import sqlalchemy.ext.asyncio"),
    ("Migrations are run", "services/planted.py", "from alembic import command"),
    ("Telemetry's packages", "routers/planted.py", "from prometheus_client import Counter"),
    ("Telemetry's packages", "services/planted.py", "from opentelemetry.sdk import trace"),
    ("The queue's package", "services/planted.py", "import pgqueuer"),
    ("The queue's package", "jobs/planted.py", "from pgqueuer.queries import Queries"),
    ("The PDF library", "routers/planted.py", "import reportlab"),
    ("The PDF library", "services/planted.py", "from service.orders.invoices import drawing"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The service's code and the rules, to be spoilt."""
    shutil.copytree(ROOT / "service", tmp_path / "service", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(folder: Path) -> tuple[int, list[str]]:
    """The exit status, and the beginnings of the lines that call a contract broken."""
    program = Path(sys.executable).with_name("lint-imports")
    finished = subprocess.run(
        [program, "--no-logo", "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts: " in finished.stdout, finished.stdout + finished.stderr
    broken = [line for line in finished.stdout.splitlines() if line.endswith(" BROKEN")]
    return finished.returncode, broken


def test_the_code_as_it_is_keeps_every_rule(copy: Path) -> None:
    assert lint_imports(copy) == (0, [])


@pytest.mark.parametrize(("contract", "file", "line"), VIOLATIONS, ids=[f"{v[1]} {v[2]}" for v in VIOLATIONS])
def test_a_violation_is_named(copy: Path, contract: str, file: str, line: str) -> None:
    planted = copy / "service" / file
    planted.write_text(line + "\n")
    if line.endswith("planted_too"):
        planted.with_name("planted_too.py").touch()

    status, broken = lint_imports(copy)

    assert status == 1
    assert len(broken) == 1
    assert broken[0].startswith(contract)
