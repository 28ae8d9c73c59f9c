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
    ("Packages:", "utils.py", ""),
    ("Packages:", "catalogue/planted.py", "import service.orders"),
    ("Packages:", "accounts/planted.py", "import service.catalogue"),
    ("Packages:", "identity/planted.py", "import service.accounts"),
    ("Packages:", "platform/http/planted.py", "import service.identity"),
    ("Platform:", "platform/planted.py", ""),
    ("Platform:", "platform/database/planted.py", "import service.platform.http"),
    ("Roles:", "orders/repository.py", "import service.orders.service"),
    ("Roles:", "catalogue/service.py", "import service.catalogue.router"),
    ("Domains are used", "orders/planted.py", "import service.accounts.users.repository"),
    ("Domains are used", "posts/planted.py", "from service.identity.service import reauthorize"),
    ("Domains are used", "orders/planted.py", "import service.catalogue.service"),
    ("Domains are used", "webhooks/planted.py", "from service.orders import repository"),
    ("The web framework", "orders/planted.py", "import fastapi"),
    ("The web framework", "posts/planted.py", "from starlette.requests import Request"),
    ("SQL stays", "orders/planted.py", "from sqlalchemy import select"),
    ("SQL stays", "platform/http/planted.py", "import sqlalchemy.ext.asyncio"),
    ("Migrations are run", "orders/planted.py", "from alembic import command"),
    ("Telemetry's packages", "orders/planted.py", "from prometheus_client import Counter"),
    ("Telemetry's packages", "platform/http/planted.py", "from opentelemetry.sdk import trace"),
    ("The PDF library", "orders/service.py", "import reportlab"),
    ("The PDF library", "invoices/service.py", "from service.invoices import pdf"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The service's code and the rules, to be spoilt."""
    shutil.copytree(ROOT / "service", tmp_path / "service", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "import_contracts.py", tmp_path / "tools")
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
    broken = [line for line in finished.stdout.splitlines() if " BROKEN" in line]
    return finished.returncode, broken


def test_the_code_as_it_is_keeps_every_rule(copy: Path) -> None:
    assert lint_imports(copy) == (0, [])


@pytest.mark.parametrize(("contract", "file", "line"), VIOLATIONS, ids=[f"{v[1]} {v[2]}" for v in VIOLATIONS])
def test_a_violation_is_named(copy: Path, contract: str, file: str, line: str) -> None:
    planted = copy / "service" / file
    before = planted.read_text() if planted.exists() else ""
    planted.write_text(f"{before}\n{line}\n")

    status, broken = lint_imports(copy)

    assert status == 1
    assert len(broken) == 1
    assert broken[0].startswith(contract)
