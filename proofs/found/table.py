"""The page of all faults, and their numbers for docs/reliability.md."""

import re
from collections import Counter
from typing import Final

from proofs.found.record import AREAS, ROOT, WAYS, Fault, Trial, faults, reproduced, trials

PAGE: Final = ROOT / "docs/reliability/faults-found.md"
SUMMARY: Final = ROOT / "docs/reliability.md"
_MARKED: Final = re.compile(r"(?<=<!-- found -->\n).*?(?=<!-- /found -->)", re.DOTALL)


def write() -> None:
    for path, text in ((PAGE, tables()), (SUMMARY, summary())):
        path.write_text(replaced(path.read_text(), text))


def replaced(page: str, text: str) -> str:
    """The page with this text between its marks. Raises LookupError where it has none."""
    if not _MARKED.search(page):
        raise LookupError("there is no part between <!-- found --> and <!-- /found -->")
    return _MARKED.sub(lambda _: f"\n{text}\n", page, count=1)


def tables() -> str:
    """A table for each area."""
    known = trials()
    parts = []
    for area, title in AREAS.items():
        mine = [fault for fault in faults() if fault.area == area]
        parts += [f"## {title[0].upper()}{title[1:]}", "", _table(mine, known)]
    return "\n".join(parts)


def summary() -> str:
    every, known = faults(), trials()
    ways = [way for way in WAYS if any(fault.found == way for fault in every)]
    heads = ["area", "faults", *(f"by {way}" for way in ways), "reproduced"]
    rows = [
        _counts(title, [fault for fault in every if fault.area == area], ways, known)
        for area, title in AREAS.items()
    ]
    lines = [_line(heads), _line(["---"] * len(heads)), *map(_line, rows)]
    lines += [_line(_counts("**all**", list(every), ways, known)), ""]
    lines += [f"- by {way}: {WAYS[way]}" for way in ways]
    return "\n".join(lines)


def _counts(title: str, mine: list[Fault], ways: list[str], known: dict[int, Trial]) -> list[str]:
    found = Counter(fault.found for fault in mine)
    again = sum(reproduced(known.get(fault.number)) for fault in mine)
    return [title, str(len(mine)), *(str(found[way]) for way in ways), str(again)]


def _table(mine: list[Fault], known: dict[int, Trial]) -> str:
    heads = [
        "fault",
        "date",
        "what a user saw",
        "cause",
        "found by",
        "mended",
        "the test that finds it",
        "reproduced",
    ]
    rows = [
        [
            str(fault.number),
            fault.date.isoformat(),
            fault.symptom,
            fault.cause,
            fault.found,
            fault.mended,
            f"`{fault.test}`",
            outcome(fault, known.get(fault.number)),
        ]
        for fault in mine
    ]
    return "\n".join([_line(heads), _line(["---"] * len(heads)), *map(_line, rows), ""])


def outcome(fault: Fault, trial: Trial | None) -> str:
    """Whether it was reproduced, or why not."""
    if fault.not_tried:
        return f"not tried: {fault.not_tried}"
    if trial is None:
        return "not tried yet"
    if reproduced(trial):
        return "yes"
    if trial["before"] != "failed":
        return f"no: on the commit before, the test {_said(trial['before'])}"
    return f"no: at the mend, the test {_said(trial['after'])}"


def _said(kind: str) -> str:
    return {
        "does not start": "needs what came with the mend",
        "passed": "passes",
        "failed": "fails here",
        "skipped": "is skipped here",
        "took too long": "takes too long",
        "not available": "cannot be set up here",
    }[kind]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
