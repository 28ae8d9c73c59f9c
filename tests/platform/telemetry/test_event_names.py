"""Lines of ours are named by what has happened, `noun.past_verb`, and their values are fields."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICE = Path(__file__).parents[3] / "service"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
#: Passes on the name that it is given first.
HELPERS = {"_tell"}
IRREGULAR = "begun|broken|cut|found|heard|held|lost|met|misread|put|sent|withheld|written"
NAME = re.compile(rf"[a-z_]+\.(?:[a-z]+_)*(?:[a-z]+ed|{IRREGULAR})(?:_[a-z]+)*")


def told(tree: ast.AST) -> Iterator[ast.expr]:
    """What stands where a line is named."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        logs = isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS
        helps = isinstance(node.func, ast.Name) and node.func.id in HELPERS
        if logs or helps:
            yield node.args[0]


def names() -> dict[str, str]:
    """Each literal name, and the file where it is told."""
    return {
        str(found.value): str(file.relative_to(SERVICE))
        for file in SERVICE.rglob("*.py")
        for found in told(ast.parse(file.read_text()))
        if isinstance(found, ast.Constant)
    }


def test_lines_are_named_by_what_has_happened() -> None:
    found = names()
    assert len(found) > 40
    assert {name: file for name, file in found.items() if not NAME.fullmatch(name)} == {}


def test_names_are_written_out() -> None:
    """A value in a name could be personal data, and no search would find it."""
    made = [
        f"{file.relative_to(SERVICE)}:{found.lineno}"
        for file in SERVICE.rglob("*.py")
        for found in told(ast.parse(file.read_text()))
        if not isinstance(found, ast.Constant | ast.Name)
    ]
    assert made == []


@pytest.mark.parametrize("name", ["worker.stopping", "The upstream failed: %s", "failed", "order.placed %s"])
def test_other_names_would_be_found(name: str) -> None:
    assert not NAME.fullmatch(name)
