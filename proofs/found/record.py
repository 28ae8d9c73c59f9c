"""What is known of each fault: written by hand in faults/*.toml, and what came out when it was reproduced."""

import json
import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Final, TypedDict

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
TRIALS: Final = HERE / "trials.json"

#: How a fault was found, as the page explains it.
WAYS: Final = {
    "test": "a test of this repository that failed, in CI or beside other load",
    "review": "a reader of the code or the documents who set out to break what they say",
    "user": "someone who used the service from outside: a client, an integrator, an importer, an attacker",
    "load": "a run under load, or a measurement",
    "cluster": "an installation on a real Kubernetes cluster",
    "fuzz": "requests or values that a program made up",
    "proof": "a run of `make prove-faults` or another proof",
}


class Trial(TypedDict):
    """What came out when the test ran on the commit before the mend, and at the mend."""

    before: str
    after: str
    #: What the test said on the commit before.
    shows: str


@dataclass(frozen=True)
class Fault:
    """`test` finds it today. `then` is the same test as it was called at the commit `tests`, whose tests are
    run over the code of the commit before `mended`; where they are left out, they are as today, and those
    of the mend.
    """

    number: int
    date: date
    found: str
    mended: str
    symptom: str
    cause: str
    test: str
    area: str
    then: str = ""
    tests: str = ""
    #: Why it is not run on the commit before its mend.
    not_tried: str = ""

    @property
    def test_then(self) -> str:
        return self.then or self.test

    @property
    def tests_from(self) -> str:
        return self.tests or self.mended


AREAS: Final = {
    "orders": "orders, stock, invoices",
    "access": "signing in, rights, secrets",
    "http": "HTTP and the contract",
    "data": "database, lists, jobs",
    "import": "import",
    "operation": "processes, telemetry, commands",
    "cluster": "chart",
}


@cache
def faults() -> tuple[Fault, ...]:
    """All of them, by number."""
    found = [
        Fault(area=path.stem, **entry)
        for path in sorted((HERE / "faults").glob("*.toml"))
        for entry in _entries(path)
    ]
    return tuple(sorted(found, key=lambda each: each.number))


def _entries(path: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = tomllib.loads(path.read_text())["fault"]
    return entries


def by_number(number: int) -> Fault:
    """Raises LookupError where there is no such fault."""
    for fault in faults():
        if fault.number == number:
            return fault
    raise LookupError(f"there is no fault {number}; the last is {faults()[-1].number}")


def trials() -> dict[int, Trial]:
    if not TRIALS.exists():
        return {}
    return {int(number): trial for number, trial in json.loads(TRIALS.read_text()).items()}


def keep(found: dict[int, Trial]) -> None:
    """Add what came out to what is known from earlier runs."""
    known = sorted((trials() | found).items())
    TRIALS.write_text(json.dumps(dict(known), indent=1, ensure_ascii=False) + "\n")


def reproduced(trial: Trial | None) -> bool:
    return trial is not None and trial["before"] == "failed" and trial["after"] == "passed"
