"""The tables of a run: on the terminal, as docs/reliability/NAME.json, and in docs/reliability.md.

The page's part of a proof stands between `<!-- NAME -->` and `<!-- /NAME -->`; what stands outside of such
marks is written by hand.
"""

import json
import re
from pathlib import Path
from typing import Any, Final, TypedDict

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs/reliability.md"
FOLDER: Final = ROOT / "docs/reliability"

HELD: Final = "held"
FAILED: Final = "failed"
NOT_RUN: Final = "not run"


class Row(TypedDict, total=False):
    """One case of a run."""

    name: str
    title: str
    verdict: str
    seconds: int
    figures: dict[str, Any]
    faults: list[str]
    missed: list[str]
    series: dict[str, list[dict[str, Any]]]
    reason: str
    #: Of a case that was run again, by itself, after the whole run.
    again: str


class Document(TypedDict, total=False):
    """One run of a proof."""

    proof: str
    columns: dict[str, str]
    seed: int
    seconds: int
    commit: str
    date: str
    machine: str
    load: float
    rows: list[Row]


def document(name: str) -> Path:
    return FOLDER / f"{name}.json"


def read(name: str) -> Document:
    found: Document = json.loads(document(name).read_text())
    return found


def write(run: Document) -> None:
    """Keep a whole run, and show it on the page."""
    FOLDER.mkdir(exist_ok=True)
    document(run["proof"]).write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(replaced(PAGE.read_text(), run))


def amended(part: Document) -> Document:
    """The run that is kept, with the cases of this one in the place of theirs."""
    again = f"{part['date']} at {part['commit']}, seed {part['seed']}; load {part['load']} before"
    rows: dict[str, Row] = {row["name"]: {**row, "again": again} for row in part["rows"]}
    whole = read(part["proof"])
    return {**whole, "rows": [rows.get(row["name"], row) for row in whole["rows"]]}


def replaced(text: str, run: Document) -> str:
    """The page with this run's tables between its marks.

    Raises LookupError where the page has no such marks.
    """
    name = run["proof"]
    pattern = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise LookupError(f"{PAGE.name} has no part between <!-- {name} --> and <!-- /{name} -->")
    return pattern.sub(lambda _: f"\n{markdown(run)}\n", text, count=1)


def markdown(run: Document) -> str:
    """The table, and below it what failed, was missed or was not run."""
    heads, rows = _cells(run)
    lines = [_line(heads), _line(["---"] * len(heads)), *map(_line, rows), ""]
    for row in run["rows"]:
        lines += [f"- {row['name']}: **fault**: {_escaped(sentence)}" for sentence in row.get("faults", ())]
        lines += [f"- {row['name']}: goal missed: {_escaped(sentence)}" for sentence in row.get("missed", ())]
        if "reason" in row:
            lines.append(f"- {row['name']}: not run on this machine: {_escaped(row['reason'])}")
        if "again" in row:
            lines.append(f"- {row['name']}: run again by itself on {row['again']}")
    if lines[-1]:
        lines.append("")
    lines.append(
        f"Run on {run['date']} at {run['commit']}, seed {run['seed']}, in {run['seconds']} s:"
        f" {run['machine']}; load {run['load']} before."
    )
    return "\n".join(lines)


def text_table(run: Document) -> str:
    """The same for a terminal."""
    heads, rows = _cells(run)
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (heads, *rows)
    ]
    failed = sum(row["verdict"] == FAILED for row in run["rows"])
    missed = sum(len(row.get("missed", ())) for row in run["rows"])
    not_run = sum(row["verdict"] == NOT_RUN for row in run["rows"])
    end = f"{failed} of {len(rows)} failed" if failed else "Nothing was lost, doubled or wrong"
    if not_run:
        end = "Nothing was run" if not_run == len(rows) else f"{end}; {not_run} not run"
    return "\n".join(
        [*(line.rstrip() for line in lines), "", f"{end}; {missed} goals missed; seed {run['seed']}"]
    )


def _cells(run: Document) -> tuple[list[str], list[list[str]]]:
    keys = list(run["columns"])
    heads = ["case", "what is done", "verdict", *(run["columns"][key] for key in keys)]
    rows = [
        [row["name"], row["title"], row["verdict"], *(_shown(row["figures"].get(key)) for key in keys)]
        for row in run["rows"]
    ]
    return heads, rows


def _shown(figure: Any) -> str:
    """Numbers as people read them; an absent figure is an empty cell."""
    if figure is None:
        return ""
    if isinstance(figure, float):
        return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"
    return f"{figure:,}" if isinstance(figure, int) else str(figure)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
