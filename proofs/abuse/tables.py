"""The tables of requirements: for each row the tests that hold it, or the reason why there are none.

A table is a TOML file of this folder:

    title = "OWASP ASVS 5.0.0, levels 1 and 2"
    source = "..."            # where the requirements stand, and under which licence

    [groups]                  # what rows are counted by: an id up to its first point
    V6 = "Authentication"

    [[rows]]
    id = "V6.2.3"
    level = 1                 # where the source has levels
    title = "Changing a password needs the current one."
    verdict = "held"
    tests = ["tests/accounts/test_users.py::TestChangePassword::test_needs_a_token"]

`tests` are names as pytest prints them, without parameters; `documents` are headings, as a link names them
(`SECURITY.md#keys`), for what asks for a document; `reason` is a sentence or two.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
ROOT: Final = FOLDER.parents[1]

HELD: Final = "held"
BY_DESIGN: Final = "by design"
NOT_APPLICABLE: Final = "not applicable"
OUTSIDE: Final = "outside"
OPEN: Final = "open"
#: What each verdict says of a row.
VERDICTS: Final[Mapping[str, str]] = {
    HELD: "the tests named hold it, or the documents named are what it asks for",
    BY_DESIGN: "it is not met, on purpose",
    NOT_APPLICABLE: "the service has nothing of what it is about",
    OUTSIDE: "the platform that the service runs on has to meet it",
    OPEN: "it is not met",
}


@dataclass(frozen=True)
class Row:
    """One requirement."""

    id: str
    title: str
    verdict: str
    level: int | None = None
    tests: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    reason: str = ""

    @property
    def group(self) -> str:
        return self.id.partition(".")[0]


@dataclass(frozen=True)
class Table:
    """One source of requirements."""

    name: str
    title: str
    source: str
    groups: Mapping[str, str]
    rows: Sequence[Row]


def load(path: Path) -> Table:
    raw = tomllib.loads(path.read_text())
    rows = tuple(_row(entry) for entry in raw["rows"])
    return Table(path.stem, raw["title"], raw["source"], raw["groups"], rows)


def tables() -> list[Table]:
    return [load(path) for path in sorted(FOLDER.glob("*.toml"))]


def _row(entry: dict[str, Any]) -> Row:
    tests, documents = tuple(entry.pop("tests", ())), tuple(entry.pop("documents", ()))
    return Row(tests=tests, documents=documents, **entry)


def faults(table: Table) -> Iterator[str]:
    """Sentences about rows that lack what their verdict needs."""
    ids = [row.id for row in table.rows]
    yield from (f"{name} is in {table.name} twice." for name in sorted({i for i in ids if ids.count(i) > 1}))
    if ids != sorted(ids, key=_numbers):
        yield f"The rows of {table.name} are not in the order of their ids."
    for row in table.rows:
        yield from (f"{table.name} {row.id}: {sentence}" for sentence in _faults(row, table.groups))


def _faults(row: Row, groups: Mapping[str, str]) -> Iterator[str]:
    if row.group not in groups:
        yield f"there is no group {row.group}."
    if row.verdict not in VERDICTS:
        yield f"there is no verdict {row.verdict!r}."
    elif row.verdict == HELD and not (row.tests or row.documents):
        yield "it is held by no test and no document."
    elif row.verdict != HELD and not row.reason:
        yield "it is not held, and has no reason."
    if len(set(row.tests)) < len(row.tests):
        yield "it names a test twice."
    yield from (f"there is no heading {name}." for name in row.documents if not _has_heading(name))


def _numbers(row_id: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", row_id)]


def _has_heading(name: str) -> bool:
    """Whether a document has the heading that a link such as `SECURITY.md#keys` leads to, or the bold first
    words of a paragraph, as SECURITY.md has them.
    """
    path, _, anchor = name.partition("#")
    if not (ROOT / path).is_file():
        return False
    text = (ROOT / path).read_text()
    heads = re.findall(r"^#+ (.+)$|^\*\*(.+?)\.?\*\*", text, re.MULTILINE)
    return not anchor or anchor in {_anchor(heading or words) for heading, words in heads}


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
