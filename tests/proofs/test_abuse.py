"""The tables of abuse name tests and headings that there are, and leave no test of abuse out."""

import ast
from functools import cache
from pathlib import Path

import pytest

from proofs.abuse.tables import ROOT, Row, Table, faults, tables

TABLES = pytest.mark.parametrize("table", tables(), ids=lambda table: table.name)


@cache
def names(path: Path) -> frozenset[str]:
    """The tests of a file as pytest names them, without parameters."""
    place = path.relative_to(ROOT).as_posix()
    found = set()
    for node in ast.parse(path.read_text()).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        within = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for member in members:
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and member.name.startswith("test_"):
                found.add(f"{place}::{within}{member.name}")
    return frozenset(found)


def is_there(test: str) -> bool:
    path = ROOT / test.partition("::")[0]
    return path.is_file() and test in names(path)


@TABLES
def test_every_row_has_what_its_verdict_needs(table: Table) -> None:
    assert list(faults(table)) == []


@TABLES
def test_every_test_that_is_named_exists(table: Table) -> None:
    assert [(row.id, test) for row in table.rows for test in row.tests if not is_there(test)] == []


def test_every_test_of_abuse_is_in_a_table() -> None:
    named = {test for table in tables() for row in table.rows for test in row.tests}
    found = {test for path in (ROOT / "tests/abuse").glob("test_*.py") for test in names(path)}
    assert sorted(found - named) == []


def test_what_a_row_lacks_is_found() -> None:
    rows = (
        Row("V1.2", "A", "held"),
        Row("V1.1", "B", "by design"),
        Row("V2.1", "C", "maybe", reason="So."),
        Row("V1.1", "D", "held", tests=("tests/a.py::test_b", "tests/a.py::test_b")),
        Row("V1.3", "E", "held", documents=("SECURITY.md#no-such-heading", "SECURITY.md#keys", "NONE.md")),
    )
    assert list(faults(Table("t", "T", "S", {"V1": "One"}, rows))) == [
        "V1.1 is in t twice.",
        "The rows of t are not in the order of their ids.",
        "t V1.2: it is held by no test and no document.",
        "t V1.1: it is not held, and has no reason.",
        "t V2.1: there is no group V2.",
        "t V2.1: there is no verdict 'maybe'.",
        "t V1.1: it names a test twice.",
        "t V1.3: there is no heading SECURITY.md#no-such-heading.",
        "t V1.3: there is no heading NONE.md.",
    ]
    assert not is_there("tests/proofs/test_abuse.py::test_that_is_not_there")
