"""Runs the tests that the tables name, all in one run of pytest, and says of each row what came of them."""

import asyncio
import os
import signal
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from proofs.abuse import document
from proofs.abuse.tables import ROOT, VERDICTS, Table, tables
from proofs.cases import Context, Result

#: For each test that was run, how often, and what of it failed.
Outcomes = Mapping[str, Counter[str]]

_runs: dict[tuple[str, ...], Outcomes] = {}


async def chapter(table: Table, group: str, context: Context) -> Result:
    """One group of a table. The first one that is asked for runs the tests of all."""
    if context.cases not in _runs:
        document.write()
        _runs[context.cases] = await run(named(context.cases), context)
    return judged(table, group, _runs[context.cases])


def named(groups: Sequence[str]) -> list[str]:
    """The tests of these groups, each once, file by file."""
    return sorted(
        {test for table in tables() for row in table.rows if row.group in groups for test in row.tests}
    )


async def run(tests: Sequence[str], context: Context) -> Outcomes:
    """pytest in a process of its own, with an environment as for `make test`."""
    report = context.folder / "report.xml"
    if not tests:
        return {}
    context.say(f"{len(tests)} tests")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"),
        *tests,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        last = b""
        async for line in process.stdout:
            last = line.strip() or last
        await process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    context.say(last.decode(errors="replace"))
    return outcomes(report)


def outcomes(report: Path) -> Outcomes:
    """By the names of tests without parameters, with dots throughout, as pytest reports them."""
    found: dict[str, Counter[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name', '').partition('[')[0]}"
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        found.setdefault(name, Counter())[min(kinds, default="passed")] += 1
    return found


def judged(table: Table, group: str, results: Outcomes) -> Result:
    """How many rows have which verdict, and the rows whose tests do not hold them."""
    rows = [row for row in table.rows if row.group == group]
    verdicts = Counter(row.verdict for row in rows)
    tests = {test for row in rows for test in row.tests}
    faults = [
        f"{row.id} ({row.title}): {test} {came}"
        for row in rows
        for test in row.tests
        if (came := _came_of(results.get(_dotted(test), Counter())))
    ]
    run_of_them = sum(results.get(_dotted(test), Counter()).total() for test in tests)
    figures = {
        "rows": len(rows),
        **{name: verdicts[name] or None for name in VERDICTS},
        "tests": run_of_them or None,
    }
    return Result(figures=figures, faults=faults)


def _came_of(result: Counter[str]) -> str:
    """What is wrong; empty where all has passed."""
    if not result:
        return "was not run"
    wrong = [f"{count} {kind}" for kind, count in sorted(result.items()) if kind != "passed"]
    return f"has {', '.join(wrong)}" if wrong else ""


def _dotted(test: str) -> str:
    return test.replace(".py::", ".").replace("::", ".").replace("/", ".")
