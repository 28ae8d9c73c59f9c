"""The tables of abuse name tests and headings that there are, and leave no test of abuse out."""

import ast
from functools import cache
from pathlib import Path

import pytest

from proofs.abuse import document
from proofs.abuse.run import judged, outcomes
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


def test_the_page_is_what_the_tables_make() -> None:
    assert document.PAGE.read_text() == document.render()  # python -m proofs.abuse


def test_the_levels_are_complete() -> None:
    """ASVS 5.0.0 has 70 requirements of level 1 and 183 of level 2."""
    (asvs,) = [table for table in tables() if table.name == "asvs-5.0"]
    assert [sum(row.level == level for row in asvs.rows) for level in (1, 2)] == [70, 183]
    assert len(asvs.rows) == 253


def test_a_test_that_fails_or_does_not_run_is_a_fault(tmp_path: Path) -> None:
    """And one that passes with each of its parameters is none."""
    report = tmp_path / "report.xml"
    report.write_text(
        "<testsuites><testsuite>"
        '<testcase classname="tests.a.test_b.TestC" name="test_good[1]"/>'
        '<testcase classname="tests.a.test_b.TestC" name="test_good[2]"/>'
        '<testcase classname="tests.a.test_b" name="test_bad[1]"/>'
        '<testcase classname="tests.a.test_b" name="test_bad[2]"><failure message="no"/></testcase>'
        '<testcase classname="tests.a.test_b" name="test_left_out"><skipped/></testcase>'
        "</testsuite></testsuites>"
    )
    rows = (
        Row("V1.1", "Good", "held", tests=("tests/a/test_b.py::TestC::test_good",)),
        Row("V1.2", "Bad", "held", tests=("tests/a/test_b.py::test_bad",)),
        Row("V1.3", "Left out", "held", tests=("tests/a/test_b.py::test_left_out",)),
        Row("V1.4", "Gone", "held", tests=("tests/a/test_b.py::test_gone",)),
        Row("V1.5", "Not", "by design", reason="So."),
    )
    result = judged(Table("t", "T", "S", {"V1": "One"}, rows), "V1", outcomes(report))
    assert result.faults == [
        "V1.2 (Bad): tests/a/test_b.py::test_bad has 1 failure",
        "V1.3 (Left out): tests/a/test_b.py::test_left_out has 1 skipped",
        "V1.4 (Gone): tests/a/test_b.py::test_gone was not run",
    ]
    shown = {name: figure for name, figure in result.figures.items() if figure is not None}
    assert shown == {"rows": 5, "held": 4, "by design": 1, "tests": 5}
