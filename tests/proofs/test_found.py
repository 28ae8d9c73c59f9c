"""The table of faults names tests that there are and commits of this history, and gives no number twice."""

import ast
import os
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from proofs.found import table, trial
from proofs.found.record import AREAS, HERE, ROOT, WAYS, Fault, by_number, faults, reproduced, trials

FAULTS = faults()


def test_no_number_is_given_twice_and_none_is_left_out() -> None:
    assert [fault.number for fault in FAULTS] == list(range(1, len(FAULTS) + 1))


def test_every_fault_has_what_a_reader_needs() -> None:
    for fault in FAULTS:
        assert fault.found in WAYS, fault.number
        assert fault.area in AREAS, fault.number
        for sentence in (fault.symptom, fault.cause):
            assert sentence.endswith("."), (fault.number, sentence)
    assert [one for one, times in Counter(fault.symptom for fault in FAULTS).items() if times > 1] == []


@cache
def _tests(path: Path) -> frozenset[str]:
    """Names as pytest gives them, without parameters."""
    found: set[str] = set()

    def walk(node: ast.Module | ast.ClassDef, prefix: str) -> None:
        for each in node.body:
            if isinstance(each, ast.ClassDef) and each.name.startswith("Test"):
                walk(each, f"{prefix}{each.name}::")
            elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name.startswith("test_"):
                found.add(f"{prefix}{each.name}")

    walk(ast.parse(path.read_text()), "")
    return frozenset(found)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.number))
def test_the_test_that_finds_it_is_collected(fault: Fault) -> None:
    path, _, name = fault.test.partition("::")
    assert name in _tests(ROOT / path)


def _git(*arguments: str) -> str | None:
    """What git prints, or None where it fails."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout.strip()


def test_each_mend_is_a_commit_of_this_history() -> None:
    if _git("rev-parse", "--is-shallow-repository") != "false":
        pytest.skip("this checkout has no history")
    commits = sorted({commit for fault in FAULTS for commit in (fault.mended, fault.tests_from)})
    assert [one for one in commits if _git("merge-base", "--is-ancestor", one, "HEAD") is None] == []


def test_what_is_said_to_be_reproduced_was_seen_to_fail_and_to_pass() -> None:
    known = trials()
    assert set(known) <= {fault.number for fault in FAULTS}
    assert [number for number, one in known.items() if reproduced(one) and not one["shows"]] == []
    assert [fault.number for fault in FAULTS if fault.not_tried and fault.number in known] == []


def test_the_pages_are_written_from_what_is_known() -> None:
    for path, text in ((table.PAGE, table.tables()), (table.SUMMARY, table.summary())):
        assert table.replaced(path.read_text(), text) == path.read_text()


def test_a_fault_that_there_is_not_is_refused_by_its_number() -> None:
    with pytest.raises(LookupError, match=f"there is no fault 0; the last is {len(FAULTS)}"):
        by_number(0)


class TestOutcomes:
    """What counts as a fault that is shown: a test that fails by what it asserts, before the mend alone."""

    REPORT = """<testsuites><testsuite>
        <testcase classname="tests.a.test_b.TestC" name="test_d[1]"><failure message="{message}"/></testcase>
        <testcase classname="tests.a.test_b.TestC" name="test_d[2]"/>
        <testcase classname="tests.a.test_b.TestC" name="test_de"/>
        <testcase classname="tests.a.test_b" name="test_f"><skipped message="needs root"/></testcase>
    </testsuite></testsuites>"""

    def outcomes(self, tmp_path: Path, message: str = "assert 500 == 503") -> dict[str, trial.Outcome]:
        report = tmp_path / "report.xml"
        report.write_text(self.REPORT.format(message=message))
        names = ["TestC::test_d", "TestC::test_de", "test_f", "test_g"]
        return trial.read(report, [f"tests/a/test_b.py::{name}" for name in names], tmp_path, "")

    def test_one_case_that_fails_is_enough(self, tmp_path: Path) -> None:
        assert list(self.outcomes(tmp_path).values()) == [
            trial.Outcome("failed", "assert 500 == 503"),
            trial.Outcome("passed"),
            trial.Outcome("skipped"),
            trial.Outcome("does not start"),
        ]

    @pytest.mark.parametrize(
        "message",
        [
            "ModuleNotFoundError: No module named 'service.x'",
            "AttributeError: 'App' object has no attribute 'x'",
        ],
    )
    def test_a_test_that_needs_the_mend_shows_nothing(self, tmp_path: Path, message: str) -> None:
        assert next(iter(self.outcomes(tmp_path, message).values())) == trial.Outcome(
            "does not start", message
        )


class TestAbsent:
    """What an older commit has not is stood in for, so that the other tests of a file can run."""

    def run(self, tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
        for folder in ("service", "tests"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "__init__.py").touch()
        (tmp_path / "service/orders.py").write_text("PRICE = 1\n")
        (tmp_path / "tests/test_it.py").write_text(body)
        shutil.copy(HERE / "absent.py", tmp_path)
        plugins = ["-p", "absent", "-p", "no:cacheprovider"]
        command = [sys.executable, "-m", "pytest", "-q", *plugins, "tests/test_it.py"]
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    def test_only_what_uses_it_fails(self, tmp_path: Path) -> None:
        done = self.run(
            tmp_path,
            "from service.orders import PRICE, REFUND\n"
            "from service.quotes import Quote\n"
            "def test_old() -> None: assert PRICE == 1\n"
            "def test_new() -> None: Quote()\n"
            "def test_name(quote: Quote | None = None) -> None: assert REFUND > PRICE\n",
        )
        assert "2 failed, 1 passed" in done.stdout, done.stdout
        assert "NeedsTheMend: service.quotes.Quote" in done.stdout
        assert "NeedsTheMend: service.orders.REFUND" in done.stdout
