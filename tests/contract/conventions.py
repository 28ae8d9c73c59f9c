"""Conventions that no linter knows: each check yields what breaks it in one module of the service."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
#: What the server and middleware set in a scope; everything else is a field of RequestState.
ASGI_KEYS: Final = frozenset(
    {"extensions", "headers", "http_version", "method", "path", "query_string", "raw_path", "route", "scheme"}
)
#: Methods of an SQLAlchemy session that load, hold or make entities.
ENTITY_METHODS: Final = frozenset({"add", "add_all", "get", "get_one", "merge", "refresh"})
#: Words of our own that the field has a name for. Once a word is gone, add it here.
PRIVATE_WORDS: Final = (
    "before_asking",
    "built_from",
    "for_any_cache",
    "honour_contract",
    "illegal_move",
    "IllegalMove",
    "Shedding",
)
_WORDS: Final = re.compile(rf"\b(?:{'|'.join(PRIVATE_WORDS)})\b")


def modules() -> Iterator[tuple[str, str]]:
    """Path and source of each module of the service, but for migrations: they stay as they were written."""
    for path in sorted((ROOT / "service").rglob("*.py")):
        if "migrations" not in path.parts:
            yield str(path.relative_to(ROOT)), path.read_text()


def entities() -> frozenset[str]:
    """The classes that SQLAlchemy maps to tables."""
    return frozenset(
        node.name
        for path, source in modules()
        if path.endswith("models.py")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Base" for base in node.bases)
    )


ENTITIES: Final = entities()


def request_state_by_string(path: str, source: str) -> Iterator[str]:
    """Request state is one dataclass (service/platform/http/request_state.py), not keys of a dict."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Subscript(slice=ast.Constant(value="state")):
                yield f"{path}:{node.lineno} {ast.unparse(node)}"
            case ast.Call(
                func=ast.Attribute(attr="get" | "setdefault" | "pop"), args=[ast.Constant(value="state"), *_]
            ):
                yield f"{path}:{node.lineno} {ast.unparse(node)}"
            case ast.Attribute(value=ast.Attribute(attr="state", value=owner)) if ast.unparse(owner).endswith(
                "request"
            ):
                yield f"{path}:{node.lineno} {ast.unparse(node)}"
            case ast.Subscript(
                value=ast.Name(id="scope" | "inner"), slice=ast.Constant(value=str(key)), ctx=ast.Store()
            ) if key not in ASGI_KEYS:
                yield f"{path}:{node.lineno} {ast.unparse(node)}"


def entities_outside_models(path: str, source: str) -> Iterator[str]:
    """Statements name columns: an entity would be loaded whole, and again by each of its attributes."""
    if path.endswith("models.py"):
        return
    tree = ast.parse(source)
    known = ENTITIES | {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("models")
        for alias in node.names
        if alias.asname and alias.name in ENTITIES
    }
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("models")
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _makes_entity(node, known & imported):
            yield f"{path}:{node.lineno} {ast.unparse(node)}"


def _makes_entity(call: ast.Call, names: frozenset[str]) -> bool:
    of_entity = any(isinstance(each, ast.Name) and each.id in names for each in call.args)
    match call.func:
        case ast.Name(id=name):
            return name in names or (name in {"select", "aliased"} and of_entity)
        case ast.Attribute(attr="returning" | "add_columns"):
            return of_entity
        case ast.Attribute(value=ast.Name(id="session"), attr=method):
            return method in ENTITY_METHODS
    return False


def private_words(path: str, source: str) -> Iterator[str]:
    for number, line in enumerate(source.splitlines(), start=1):
        for word in _WORDS.findall(line):
            yield f"{path}:{number} {word}"
