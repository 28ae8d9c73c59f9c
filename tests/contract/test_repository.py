"""What the repository says about itself is true, and it says nothing about the machine it was made on."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_OURS = {
    ".git", ".venv", ".data", ".idea", ".vscode", ".env", "__pycache__", "node_modules", "build", "dist",
    ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache", ".hypothesis", ".schemathesis",
}  # fmt: skip
LARGEST = 2_000_000

# Written in pieces, or this file would be the first to be found.
ADDRESSES = [
    r"(?:^|[^\w-])" + "py" + r"pi\.(?:org|python\.org)",
    "python" + r"hosted\.org",
    r"registry\." + "npm" + r"js\.(?:org|com)",
    "index" + r"[-_]url\s*=?\s*[\"']?(?:https?|file)://",
    r"https?://[^\s\"'<>)]+/" + r"simple/?(?:[\s\"']|$)",
    r"https?://[^\s/:\"'<>]+:[^\s/@\"'<>]+@[^\s/]*(?:index|mirror|artifact|nexus)",
]
ADDRESS = re.compile("|".join(ADDRESSES), re.IGNORECASE | re.MULTILINE)

TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
VALUE = r"[A-Z_]+=(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s`]+)"
MAKE = re.compile(
    rf"(?:^|[`;&|(]|\$ ) *(?:{VALUE} +)*make((?: +(?:-j\d*|{VALUE}|[a-z][\w-]*))+)", re.MULTILINE
)


def files(pattern: str = "*") -> Iterator[Path]:
    """What is in version control or could be."""
    for path in sorted(ROOT.iterdir()):
        if path.name in NOT_OURS:
            continue
        for file in path.rglob(pattern) if path.is_dir() else [path] if path.match(pattern) else []:
            ours = not NOT_OURS.intersection(file.relative_to(ROOT).parts)
            if ours and file.is_file() and file.stat().st_size <= LARGEST:
                yield file


def addresses(text: str) -> list[str]:
    return [match.group(0) for match in ADDRESS.finditer(text)]


def targets_named_in(markdown: str) -> set[str]:
    """The targets of every `make ...` in code."""
    code = "\n".join(CODE.findall(markdown))
    words = [word for match in MAKE.finditer(code) for word in re.sub(VALUE, "", match.group(1)).split()]
    return {word for word in words if not word.startswith("-")}


def test_no_file_names_a_package_index() -> None:
    found = {str(file.relative_to(ROOT)): addresses(file.read_text(errors="ignore")) for file in files()}
    assert {file: what for file, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "text",
    [
        "https://" + "py" + "pi.org/project/x",
        "https://files." + "python" + "hosted.org/x.whl",
        "--index" + "-url https://packages.example/x",
        "extra-index" + "-url = file:///x",
        "https://packages.example/root/" + "simple/",
    ],
)
def test_an_index_address_would_be_found(text: str) -> None:
    assert addresses(text)


def test_every_make_target_named_in_the_documents_exists() -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    unknown = {
        str(file.relative_to(ROOT)): missing
        for file in files("*.md")
        if (missing := targets_named_in(file.read_text()) - targets)
    }
    assert unknown == {}


def test_make_targets_are_read_from_code_alone() -> None:
    text = 'We make do; `make test T=orders`, `PORT=1 make run`, `make migration M="add wish lists"`.\n\n'
    text += "```sh\n# make sure of it\nmake -j2 lint types && make gone\n$ make help # or not\n```\n"
    assert targets_named_in(text) == {"test", "run", "migration", "lint", "types", "gone", "help"}
