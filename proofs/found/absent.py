"""A plugin for pytest on older commits: what the tests of a mend import of the service, and is not there yet,
is a stand-in that fails on any use.

Without it a file of tests cannot be imported where one of them needs what came with the mend. A test that
uses a stand-in fails by `NeedsTheMend`, which shows nothing of the fault and is not counted.
"""

import ast
import importlib
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn


class NeedsTheMend(Exception):
    """The test uses what is not there."""


class Absent:
    def __init__(self, name: str) -> None:
        self.__dict__["absent"] = name

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise NeedsTheMend(self.__dict__["absent"])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # for who looks whether there is one
        self._refuse()

    def __or__(self, other: object) -> "Absent":
        return self  # in an annotation

    __ror__ = __or__
    __call__ = __iter__ = __len__ = __bool__ = __getitem__ = __contains__ = _refuse
    __lt__ = __gt__ = __add__ = __radd__ = __sub__ = __mul__ = __str__ = __format__ = _refuse
    __enter__ = __aenter__ = __await__ = __setattr__ = _refuse


class Finder:
    """Looks at the imports of each module of the tests before it is imported, and finds none itself."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name.partition(".")[0] == "tests":
            module = Path(*name.split("."))
            for source in (module.with_suffix(".py"), module / "__init__.py"):
                if source.exists():
                    _prepare(ast.parse(source.read_text()))
        return None


def _prepare(tree: ast.Module) -> None:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "service":
            module = _module(node.module or "")
            for alias in node.names:
                _name(module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "service":
                    _module(alias.name)


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("service"):
            raise
    found = ModuleType(name)
    found.__path__ = []
    found.__getattr__ = lambda each: _attribute(name, each)  # type: ignore[method-assign]
    sys.modules[name] = found
    parent, _, last = name.rpartition(".")
    setattr(_module(parent), last, found)
    return found


def _attribute(module: str, name: str) -> Absent:
    if name.startswith("__"):
        raise AttributeError(name)
    return Absent(f"{module}.{name}")


def _name(module: ModuleType, name: str) -> None:
    if hasattr(module, name):
        return
    try:
        importlib.import_module(f"{module.__name__}.{name}")
    except ModuleNotFoundError:
        setattr(module, name, Absent(f"{module.__name__}.{name}"))


sys.meta_path.insert(0, Finder())
