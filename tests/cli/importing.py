"""Files for the import to read, and its outcome."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from service.cli.import_csv import Report

Load = Callable[..., Awaitable[Report]]


def append(file: Path, text: str) -> None:
    file.write_bytes(file.read_bytes() + text.encode("utf-8", "surrogateescape"))


def insert(file: Path, at: int, text: str) -> None:
    """Put `text` before line `at`, counted from 1."""
    lines = file.read_bytes().splitlines(keepends=True)
    lines.insert(at - 1, text.encode("utf-8", "surrogateescape"))
    file.write_bytes(b"".join(lines))


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file.name}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def outcome(report: Report) -> tuple[dict[str, int], dict[str, int], list[str]]:
    return report.added, report.known, [str(refusal) for refusal in report.refused]
