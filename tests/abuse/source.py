"""What the code of the service does anywhere: for rules that hold of every file."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def trees() -> dict[str, ast.Module]:
    """The files of the service that serve: without those of development, and without migrations."""
    found = {}
    for path in sorted((ROOT / "service").rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        if not place.startswith(("service/dev/", "service/migrations/versions/")):
            found[place] = ast.parse(path.read_text())
    return found


@cache
def calls() -> list[tuple[str, str, ast.Call]]:
    """The file, the dotted name and the call, of each call of a name."""
    return [
        (place, ast.unparse(node.func), node)
        for place, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)
    ]


def imports() -> Iterator[tuple[str, str]]:
    """The file and each module that it imports."""
    for place, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((place, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield place, node.module


def files_that_import(*modules: str) -> set[str]:
    """Those that import one of these modules, or a part of one."""
    return {
        place
        for place, name in imports()
        if any(name == module or name.startswith(f"{module}.") for module in modules)
    }
