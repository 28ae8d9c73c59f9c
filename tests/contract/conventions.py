"""Conventions that no linter knows: each check yields what breaks it in one module of the service."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
#: What the server and middleware set in a scope; everything else is a field of RequestState.
ASGI_KEYS: Final = frozenset(
    {
        "extensions",
        "headers",
        "http_version",
        "method",
        "path",
        "path_params",
        "query_string",
        "raw_path",
        "route",
        "scheme",
    }
)
#: Methods of an SQLAlchemy session that load, hold or make entities.
ENTITY_METHODS: Final = frozenset({"add", "add_all", "get", "get_one", "merge", "refresh"})
#: Private words, by regular expression, and the word of the field for each. Once a word is gone, add it here.
PRIVATE_WORDS: Final = {
    r"anybody": "any user, any client",
    r"be(?:came|comes) of": "the outcome of",
    r"before_asking": "before_request",
    r"built_from": "depends_on",
    r"come_round": "enqueue_due",
    r"deaf": "not receiving",
    r"everybody": "all users, every client",
    r"for_any_cache": "public",
    r"honour_contract": "check_against_openapi",
    r"IllegalMove|illegal_move": "InvalidTransition, invalid_transition",
    r"mails\.ask": "enqueue",
    r"PartsDep": "the one component that is used",
    r"(?-i:Shedding)": "LoadShedding",
    r"signs? of life": "heartbeat",
    r"somebody": "a user, a client, an operator",
    r"tally": "counter",
    r"vitals": "health",
    r"whoever": "the caller, the client that",
}
#: Words that tests and the decision records still use.
PRIVATE_WORDS_OF_CODE: Final = {
    r"heard": "received",
    r"seal(?:ed|s)?": "encrypt",
    r"told": "notified, published, asked",
}
#: Stored names, which must not change; proofs/found names tests of older commits, and what they printed.
STORED_NAMES: Final = re.compile(
    r"""changes\.not_heard|-heard\.md|-told-to-stop\.md|told_changes|^then = .+|^ +"shows": .+"""
)
TEXTS: Final = frozenset({".css", ".html", ".json", ".md", ".py", ".toml", ".tpl", ".txt", ".yaml", ".yml"})


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"(?i)(?<![A-Za-z])(?:{'|'.join(words)})(?![A-Za-z])")


_WORDS: Final = _pattern(PRIVATE_WORDS)
_WORDS_OF_CODE: Final = _pattern({**PRIVATE_WORDS, **PRIVATE_WORDS_OF_CODE})


def modules() -> Iterator[tuple[str, str]]:
    """Path and source of each module of the service, but for migrations: they stay as they were written."""
    for path in sorted((ROOT / "service").rglob("*.py")):
        if "migrations" not in path.parts:
            yield str(path.relative_to(ROOT)), path.read_text()


def texts() -> Iterator[tuple[str, str]]:
    """Path and text of each file, but for migrations, decision records, generated files and this list."""
    left_out = {"versions", "adr", "golden", "fonts", "schemas", "openapi.json", "common_passwords.txt"}
    for folder in ("service", "charts", "docs", "tools", "bench", "proofs", "tests"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in TEXTS or left_out.intersection(path.parts) or "conventions" in path.stem:
                continue
            if "node_modules" not in path.parts:
                yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


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
    """Names and sentences use the words that the field uses."""
    words = _WORDS if path.startswith("tests/") else _WORDS_OF_CODE
    for number, line in enumerate(source.splitlines(), start=1):
        for word in words.findall(STORED_NAMES.sub("", line)):
            yield f"{path}:{number} {word}: write {_instead_of(word)}"


def _instead_of(word: str) -> str:
    known = PRIVATE_WORDS | PRIVATE_WORDS_OF_CODE
    return next(instead for pattern, instead in known.items() if re.fullmatch(pattern, word, re.IGNORECASE))
