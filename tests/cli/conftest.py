"""Files for the import, and the import."""

import io
from pathlib import Path

import asyncpg
import pytest
from rich.console import Console

from service.cli import import_csv
from service.cli.import_csv import Report
from service.cli.import_csv.schemas import CUSTOMERS, LINES, ORDERS, PRODUCTS
from service.container.api import Container
from service.dev.sample_data import FOLDER
from tests.cli.importing import Load, append


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three products, two customers and two orders of the sample, for a test to break."""
    keep = {
        PRODUCTS: {"11", "42", "72"},
        CUSTOMERS: {"VINET", "TOMSP"},
        ORDERS: {"10248", "10249"},
        LINES: {"10248"},
    }
    for name, keys in keep.items():
        lines = (FOLDER / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (tmp_path / name).write_text(
            "".join(line for line in lines if lines.index(line) == 0 or line.split(",")[0] in keys),
            encoding="utf-8",
        )
    # Order 10249 is of one line here.
    append(tmp_path / LINES, "10249,42,9.80,3,0.00\n")
    return tmp_path


@pytest.fixture
def load(container: Container, sql: asyncpg.Connection, console: Console) -> Load:
    async def run(folder: Path, password: str | None = None) -> Report:
        return await import_csv.load(
            container.database, container.settings, folder, console, password=password
        )

    return run
