"""Files for the import, and the import."""

import csv
import io
from pathlib import Path

import asyncpg
import pytest
from rich.console import Console

from service.cli import import_csv
from service.container.api import Container
from service.dev.sample_data import FOLDER
from service.imports import Report
from service.imports.loading.rows import CUSTOMERS, LINES, ORDERS, PRODUCTS, ProductRow
from tests.imports.importing import Load, append

OPTIONAL = ProductRow.optional


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three products, two customers and two orders of the sample, for a test to break.

    Without the columns that a file may lack: what the tests add are rows of those that it must have.
    """
    keep = {
        PRODUCTS: {"11", "42", "72"},
        CUSTOMERS: {"VINET", "TOMSP"},
        ORDERS: {"10248", "10249"},
        LINES: {"10248"},
    }
    for name, keys in keep.items():
        with (FOLDER / name).open(encoding="utf-8", newline="") as sample:
            rows = csv.DictReader(sample)
            columns = [column for column in rows.fieldnames or () if column not in OPTIONAL]
            kept = [row for row in rows if row[columns[0]] in keys]
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)
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
