"""docs/reliability.md shows the runs that are kept beside it, and what a run writes can be read."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from proofs import page
from proofs.__main__ import NAMES
from proofs.page import Document, Row

RUN: Document = {
    "proof": "faults",
    "columns": {"orders": "orders", "p99": "p99, of the baseline"},
    "seed": 1,
    "seconds": 60,
    "commit": "abc1234",
    "date": "2026-11-30 17:00 UTC",
    "machine": "2 processors",
    "load": 0.5,
    "rows": [
        {
            "name": "stopped",
            "title": "PostgreSQL | stopped",
            "verdict": "failed",
            "seconds": 40,
            "figures": {"orders": 1_234, "p99": 1.2345},
            "faults": ["order 7 is not there"],
            "missed": ["3.1 s"],
        },
        {
            "name": "full",
            "title": "a full disk",
            "verdict": "not run",
            "seconds": 0,
            "figures": {},
            "reason": "needs root",
        },
    ],
}


def test_every_proof_has_its_place_on_the_page() -> None:
    text = page.PAGE.read_text()
    assert re.findall(r"<!-- (\w+) -->", text) == [*NAMES, "found"]
    assert re.findall(r"<!-- /(\w+) -->", text) == [*NAMES, "found"]


@pytest.mark.parametrize("path", sorted(page.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_the_page_shows_the_run_that_is_kept(path: Any) -> None:
    text = page.PAGE.read_text()
    assert page.replaced(text, page.read(path.stem)) == text


def test_a_run_is_shown_with_what_failed_was_missed_or_was_not_run() -> None:
    shown = page.markdown(RUN)
    assert shown.splitlines() == [
        "| case | what is done | verdict | orders | p99, of the baseline |",
        "| --- | --- | --- | --- | --- |",
        "| stopped | PostgreSQL \\| stopped | failed | 1,234 | 1.23 |",
        "| full | a full disk | not run |  |  |",
        "",
        "- stopped: **fault**: order 7 is not there",
        "- stopped: goal missed: 3.1 s",
        "- full: not run on this machine: needs root",
        "",
        "Run on 2026-11-30 17:00 UTC at abc1234, seed 1, in 60 s: 2 processors; load 0.5 before.",
    ]


def test_a_run_replaces_the_one_before_it_and_nothing_else() -> None:
    text = "Before\n<!-- faults -->\nold\n<!-- /faults -->\nbehind\n"
    once = page.replaced(text, RUN)
    assert once == f"Before\n<!-- faults -->\n\n{page.markdown(RUN)}\n<!-- /faults -->\nbehind\n"
    assert page.replaced(once, RUN) == once


def test_a_case_that_was_run_again_takes_the_place_of_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "FOLDER", tmp_path)
    page.document("faults").write_text(json.dumps(RUN))
    mended: Row = {"name": "stopped", "title": "stopped", "verdict": "held", "seconds": 1, "figures": {}}
    part: Document = {**RUN, "rows": [mended], "commit": "def5678", "date": "2026-12-01 09:00 UTC", "seed": 2}
    whole = page.amended(part)
    again = "2026-12-01 09:00 UTC at def5678, seed 2; load 0.5 before"
    assert whole == {**RUN, "rows": [{**mended, "again": again}, RUN["rows"][1]]}
    assert f"- stopped: run again by itself on {again}" in page.markdown(whole).splitlines()


def test_a_page_without_the_marks_is_an_error() -> None:
    with pytest.raises(LookupError, match="<!-- faults -->"):
        page.replaced("nothing", RUN)


def test_the_table_on_the_terminal_counts_what_failed() -> None:
    assert page.text_table(RUN).splitlines()[-1] == "1 of 2 failed; 1 not run; 1 goals missed; seed 1"
    held: list[Row] = [{**row, "verdict": "held"} for row in RUN["rows"]]
    last = page.text_table({**RUN, "rows": held}).splitlines()[-1]
    assert last == "Nothing was lost, doubled or wrong; 1 goals missed; seed 1"
    last = page.text_table({**RUN, "rows": RUN["rows"][1:]}).splitlines()[-1]
    assert last == "Nothing was run; 0 goals missed; seed 1"
