"""Reads CSV files as spreadsheets write them, so that a row that is refused is named with its line.

Text in a quoted field is never taken for a row. Where the quotes of a file do not match, the ends of its rows
are unknown, and the whole file is refused.
"""

import codecs
import csv
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

from pydantic import BaseModel, ValidationError

from service.errors import ServiceError
from service.platform.http.field_errors import message

Row = TypeVar("Row", bound=BaseModel)

#: By the mark at the start of a file; longer ones first, for UTF-32 starts as UTF-16 does.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
#: What a spreadsheet exports where a formula has failed, in its user's language (#VALUE!, #WERT!, #¡VALOR!,
#: #NOM?; not available: #N/A, #NV, #N/D, ...; LibreOffice's Err:502), or where a column was too narrow.
_FAILED: Final = re.compile(r"#[¡¿]?[^\W\d_a-z][^\sa-z]*[!?]|#N/[A-Z]|#NV|#I/T|#YOK|Err:\d{3}|#{3,}")
_AS: Final = "Export it as CSV in UTF-8."


class UnusableFile(Exception):
    """A file is missing, or is not what its name says; nothing was written. The message says what to do."""


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


@dataclass(frozen=True)
class Table:
    """A file that has been read through once: its form is known, and that its quotes match."""

    path: Path
    encoding: str
    delimiter: str
    header: tuple[str, ...]
    #: How many lines stand before the first record.
    preamble: int
    count: int

    @classmethod
    def open(cls, path: Path, columns: tuple[str, ...]) -> "Table":
        """Raises UnusableFile when the file cannot be read, or lacks one of `columns`."""
        encoding = _encoding(path)
        try:
            return cls._open(path, columns, encoding)
        except UnicodeError:
            raise UnusableFile(f"{path}: is not {encoding.upper()} throughout. {_AS}") from None

    @classmethod
    def _open(cls, path: Path, columns: tuple[str, ...], encoding: str) -> "Table":
        with _text(path, encoding) as file:
            first = file.readline()
            # A tab at its end is what it names.
            named = first.strip(" \r\n").lower().removeprefix('"').removesuffix('"')
            # What cannot separate columns is not what they are separated by.
            given = named[4:5].strip('"') if named.startswith("sep=") else ""
            # Excel says in a line of its own what separates the columns.
            line = file.readline() if given else first
            delimiter = given or _delimiter(line, columns)
            reader = csv.reader(chain([line], file), delimiter=delimiter, strict=True)
            try:
                header = tuple(cell.strip() for cell in next(reader, []))
            except csv.Error as error:
                raise UnusableFile(f"{path}: its header row cannot be read: {error}. {_AS}") from None
            _check_header(path, header, columns, delimiter)
            preamble = reader.line_num + bool(given)
        table = cls(path, encoding, delimiter, header, preamble, 0)
        count = sum(1 for _ in table.records())
        return cls(path, encoding, delimiter, header, preamble, count)

    def records(self) -> Iterator[Record]:
        """One after the other, so that a large file needs no more memory than a small one."""
        with _text(self.path, self.encoding) as file:
            for _ in range(self.preamble):
                file.readline()
            reader = csv.reader(file, delimiter=self.delimiter, strict=True)
            while True:
                line = self.preamble + reader.line_num + 1
                try:
                    cells = next(reader, None)
                except csv.Error:
                    raise UnusableFile(
                        f"{self.path}:{line}: its quotes do not match. Close each quoted field, and double"
                        " each quote inside of one; nothing was imported."
                    ) from None
                if cells is None:
                    return
                if any(cell.strip() for cell in cells):
                    yield self._record(line, cells)

    def _record(self, line: int, cells: list[str]) -> Record:
        width = len(self.header)
        named = dict(zip(self.header, cells, strict=False))
        # Spreadsheets fill up with empty cells.
        if len(cells) < width or any(cell.strip() for cell in cells[width:]):
            what = _DELIMITERS.get(self.delimiter, "delimiters")
            fault = f"has {len(cells)} columns, and the header row {width}: check its {what} and quotes"
            return Record(line, named, fault)
        text = "".join(cells)
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            return Record(line, named, f"is not UTF-8. {_AS}")
        failed = next((name for name, cell in named.items() if _FAILED.fullmatch(cell.strip())), None)
        if failed is not None:
            return Record(line, named, f"{failed}: is an error of the spreadsheet's formula; write the value")
        return Record(line, named)


def _text(path: Path, encoding: str) -> TextIO:
    csv.field_size_limit(sys.maxsize)  # what is too long is reported by the rule that it breaks
    # Bytes that are not UTF-8 come through as lone surrogates, and their row alone is refused.
    errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
    return path.open(encoding=encoding, errors=errors, newline="")


def _encoding(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise UnusableFile(f"{path}: is not a file. Name a folder with the file.")
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError as fault:
        raise UnusableFile(
            f"{path}: cannot be read: {fault.strerror}. Name a folder with the file."
        ) from None
    if not start.strip():
        raise UnusableFile(f"{path}: is empty. Its first line must be the header row.")
    encoding = next((encoding for mark, encoding in _MARKS if start.startswith(mark)), "utf-8")
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UnusableFile(f"{path}: is a spreadsheet, not a CSV file. {_AS}")
    if encoding == "utf-8" and b"\0" in start.partition(b"\n")[0]:
        raise UnusableFile(f"{path}: is not UTF-8; UTF-16 needs its byte order mark. {_AS}")
    return encoding


def _delimiter(line: str, columns: tuple[str, ...]) -> str:
    """The one by which the header row has most of the columns."""

    def found(delimiter: str) -> int:
        cells = line.rstrip("\r\n").split(delimiter)
        return len({cell.strip().strip('"').strip() for cell in cells}.intersection(columns))

    return max(_DELIMITERS, key=found)


def _check_header(path: Path, header: tuple[str, ...], columns: tuple[str, ...], delimiter: str) -> None:
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise UnusableFile(f"{path}: the header row has {', '.join(twice)} more than once.")
    missing = [name for name in columns if name not in header]
    if len(missing) == len(columns):
        raise UnusableFile(
            f"{path}: its first line is not the header row. Begin it with the names of the columns, such as"
            f" {columns[0]}, separated by commas, semicolons or tabs."
        )
    if missing:
        what = _DELIMITERS.get(delimiter, f"'{delimiter}'")
        raise UnusableFile(
            f"{path}: the header row lacks {', '.join(missing)}. Its columns are separated by {what}."
        )


def why(error: ValidationError | ServiceError) -> str:
    """A refusal in one line; never the submitted value of a field that might be secret."""
    if isinstance(error, ServiceError):
        return error.detail
    faults = error.errors(include_url=False, include_input=False)
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, fault["loc"])), message(fault)))) for fault in faults
    )


def parsed(model: type[Row], values: Mapping[str, Any]) -> Row:
    """Empty cells are absent fields."""
    return model.model_validate({name: value for name, value in values.items() if value.strip() != ""})
