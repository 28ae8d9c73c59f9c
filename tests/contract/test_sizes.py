"""Files and functions stay small enough to be read in one go; complexity is ruff's to hold."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_FUNCTION = 60
SHORT_FUNCTION = 30
SHORT_SHARE = 0.9


def sources(folder: str) -> Iterator[Path]:
    """Python files, but for revisions: what a migration did is not rewritten to be shorter."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        if "versions" not in path.parts:
            yield path


def functions() -> Iterator[tuple[str, int]]:
    """Where each function of the service starts, and how many lines it has."""
    for path in sources("service"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", length


@pytest.mark.parametrize(("folder", "most"), [("service", 300), ("proofs", 300), ("tests", 500)])
def test_files_are_short(folder: str, most: int) -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources(folder)}
    assert {path: length for path, length in lengths.items() if length > most} == {}


def test_no_function_is_long() -> None:
    assert {where: length for where, length in functions() if length > LONGEST_FUNCTION} == {}


def test_nine_functions_of_ten_are_short() -> None:
    lengths = dict(functions())
    not_short = {where: length for where, length in lengths.items() if length >= SHORT_FUNCTION}
    assert len(not_short) <= (1 - SHORT_SHARE) * len(lengths), not_short
