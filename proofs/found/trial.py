"""Runs the test of a fault on the commit before its mend, where it must fail, and at the mend."""

import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from proofs.found.record import HERE, Fault, Trial
from proofs.found.trees import Trees, Unavailable, run

#: For the tests of one file.
SECONDS: Final = 420
#: A test that fails by one of these uses what came with the mend, which shows nothing of the fault.
_OF_THE_MEND: Final = re.compile(
    r"^(?:ImportError|ModuleNotFoundError|NameError|AttributeError|TypeError)\b|NeedsTheMend"
    r"|fixture '\w+' not found"
)


@dataclass(frozen=True)
class Outcome:
    """`kind` is passed, failed, or why that cannot be said."""

    kind: str
    message: str = ""


def reproduce(faults: Iterable[Fault], say: Callable[[str], None]) -> Iterator[tuple[Fault, Trial]]:
    """Those of one commit together: most of the time is PostgreSQL's start."""
    with Trees() as trees:
        for (mended, tests), group in groupby(sorted(faults, key=_together), key=_together):
            together = list(group)
            names = sorted({fault.test_then for fault in together})
            before = _outcomes(trees, f"{mended}^", tests, names, say)
            failed = [name for name in names if before[name].kind == "failed"]
            after = _outcomes(trees, tests, tests, failed, say) if failed else {}
            for fault in together:
                was, is_now = before[fault.test_then], after.get(fault.test_then, Outcome("not run"))
                yield fault, Trial(before=was.kind, after=is_now.kind, shows=was.message)


def _together(fault: Fault) -> tuple[str, str]:
    return fault.mended, fault.tests_from


def _outcomes(
    trees: Trees, code: str, tests: str, names: list[str], say: Callable[[str], None]
) -> dict[str, Outcome]:
    say(f"{code}, tests of {tests}: {' '.join(names)}")
    try:
        tree = trees.at(code, tests)
    except Unavailable as reason:
        return dict.fromkeys(names, Outcome("not available", str(reason)[:200]))
    found = _run(tree, names)
    files = sorted({name.partition("::")[0] for name in names})
    if len(files) > 1 and all(outcome.kind == "does not start" for outcome in found.values()):
        # pytest runs none where one of the files cannot be imported.
        for file in files:
            found |= _run(tree, [name for name in names if name.startswith(f"{file}::")])
    return found


def _run(tree: Path, names: list[str]) -> dict[str, Outcome]:
    report = tree.parent / "report.xml"
    report.unlink(missing_ok=True)
    shutil.copy(HERE / "absent.py", tree.parent)
    command = [
        ".venv/bin/pytest",
        "-o",
        "addopts=",
        "-p",
        "absent",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
        "-n",
        "0",
        *names,
    ]
    status, output = run(command, tree, SECONDS, PYTHONPATH=str(tree.parent))
    if not report.exists():
        kind = "took too long" if status == 124 else "does not start"
        return dict.fromkeys(names, Outcome(kind, _last(output)))
    return read(report, names, tree, output)


def read(report: Path, names: list[str], tree: Path, output: str) -> dict[str, Outcome]:
    """What pytest's report says of each test."""
    cases = list(ET.parse(report).getroot().iter("testcase"))
    return {name: _outcome(name, cases, tree) or Outcome("does not start", _last(output)) for name in names}


def _outcome(name: str, cases: list[ET.Element], tree: Path) -> Outcome | None:
    """Of all cases of one test, or None where there are none."""
    mine = [case for case in cases if _is(case, name)]
    failed = [part for case in mine if (part := case.find("failure")) is not None]
    broken = [part for case in mine if (part := case.find("error")) is not None]
    if said := [text for part in failed if not _OF_THE_MEND.search(text := _message(part, tree))]:
        return Outcome("failed", said[0])
    if failed or broken:
        return Outcome("does not start", _message((failed + broken)[0], tree))
    if not mine:
        return None
    ran = [case for case in mine if case.find("skipped") is None]
    return Outcome("passed" if ran else "skipped")


def _is(case: ET.Element, name: str) -> bool:
    path, *inner = name.split("::")
    here = ".".join([path.removesuffix(".py").replace("/", "."), *inner])
    called = f"{case.get('classname')}.{case.get('name')}"
    return called == here or called.startswith((f"{here}[", f"{here}."))


def _message(part: ET.Element, tree: Path) -> str:
    """The first line of what a test said, without what differs from run to run."""
    line = (part.get("message") or "").strip().partition("\n")[0]
    line = re.sub(r"0x[0-9a-f]{6,}", "0x…", line.replace(str(tree), ""))
    return re.sub(r"/tmp/[\w./-]+", "/tmp/…", line)[:200]


def _last(output: str) -> str:
    lines = [
        line.removeprefix("E ").strip() for line in output.splitlines() if line.startswith(("E ", "ERROR"))
    ]
    said = [line for line in lines if not line.startswith("ERROR")]
    return ((said or lines or [""])[-1])[:200]
