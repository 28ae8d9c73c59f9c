"""Reads CSV files so that one broken row costs that row, and is named with its line."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from service.errors import ServiceError
from service.schemas.wording import message

Row = TypeVar("Row", bound=BaseModel)

#: A quoted field may hold line ends. One that seems to go on for longer has lost its closing quote.
LONGEST_RECORD: Final = 10


class UnusableFile(Exception):
    """A file is missing, or is not what its name says; nothing was read. The message says what to do."""


@dataclass(frozen=True, order=True)
class Refusal:
    """A row that was left out. `line` counts from 1, the header included."""

    file: str
    line: int
    key: str
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.why}"


@dataclass
class Report:
    """What an import did, by kind: rows added, known before, and refused."""

    added: dict[str, int] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)

    def add(self, kind: str) -> None:
        self.added[kind] = self.added.get(kind, 0) + 1

    def know(self, kind: str) -> None:
        self.known[kind] = self.known.get(kind, 0) + 1


@dataclass(frozen=True)
class Record:
    """One record as read: the line it starts on, and its cells, or why there are none."""

    line: int
    cells: Mapping[str, str]
    fault: str | None = None


def read(path: Path, columns: tuple[str, ...]) -> Iterator[Record]:
    """The records of a file with a header row.

    Raises UnusableFile when the file cannot be opened or lacks one of `columns`.
    """
    try:
        # Bytes that are not UTF-8 come through as lone surrogates, and their row alone is refused.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            lines = list(file)
    except OSError as fault:
        raise UnusableFile(
            f"{path}: cannot be read: {fault.strerror}. Name a folder with the file."
        ) from None
    header = next(csv.reader(lines[:1]), [])
    missing = [name for name in columns if name not in header]
    if missing:
        raise UnusableFile(f"{path}: the header row lacks {', '.join(missing)}.")
    return _records(lines, header)


def _records(lines: list[str], header: list[str]) -> Iterator[Record]:
    at = 1
    while at < len(lines):
        used, cells = _record(lines, at, len(header))
        if cells is None:
            first = lines[at].partition(",")[0].strip().strip('"')
            fault = f"is not a row of {len(header)} columns; check its commas and quotes"
            yield Record(at + 1, {header[0]: first}, fault)
        elif cells:
            yield _checked(at + 1, dict(zip(header, cells, strict=True)))
        at += used


def _record(lines: list[str], at: int, width: int) -> tuple[int, list[str] | None]:
    """How many lines the record takes, and its cells: empty for a blank line, None if it is broken."""
    for used in range(1, LONGEST_RECORD + 1):
        try:
            cells = next(csv.reader(lines[at : at + used], strict=True), [])
        except csv.Error:
            continue  # an open quote: the record may go on in the next line
        return (used, cells) if len(cells) in {0, width} else (1, None)
    return 1, None


def _checked(line: int, cells: dict[str, str]) -> Record:
    text = "".join(cells.values())
    if any("\ud800" <= character <= "\udfff" for character in text):
        return Record(line, cells, "is not UTF-8")
    return Record(line, cells)


def why(error: ValidationError | ServiceError) -> str:
    """A refusal in one line; never the submitted value of a field that might be secret."""
    if isinstance(error, ServiceError):
        return error.detail
    faults = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in fault['loc'])}: {message(fault)}" for fault in faults)


def parsed(model: type[Row], values: Mapping[str, Any]) -> Row:
    """Empty cells are absent fields."""
    return model.model_validate({name: value for name, value in values.items() if value != ""})
