"""Runs a proof, prints its table and writes its part of docs/reliability.md.

    python -m proofs NAME [--only CASE,CASE [--amend]] [--seed N] [--minutes M] [--short]

The page is written by a whole run alone. `--amend` has some cases take the place of theirs, such as one that
has been mended since, and says of each when it was run. The exit status is 1 when anything was lost, doubled
or wrong.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from proofs import page
from proofs.cases import Case, Context, Proof, Result, missing
from proofs.machine import described

NAMES = ("faults", "floods", "abuse", "history", "restore", "soak", "fuzz")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m proofs", description="Proofs of what the service keeps.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--only", default="", help="names of cases, with commas between")
    parser.add_argument("--amend", action="store_true", help="replace these cases on the page")
    parser.add_argument("--seed", type=int, help="repeats the choices of an earlier run")
    parser.add_argument("--minutes", type=float, help="how long it may take")
    parser.add_argument("--short", action="store_true", help="the short form, of half a minute")
    given = parser.parse_args(arguments)
    if given.amend and not given.only:
        parser.error("--amend needs --only: a whole run replaces the page's part anyway")
    proof: Proof = import_module(f"proofs.{given.name}").PROOF
    if given.minutes:
        proof = replace(proof, minutes=given.minutes)
    try:
        cases = chosen(proof, [name for name in given.only.split(",") if name], short=given.short)
    except LookupError as unknown:
        parser.error(str(unknown))
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1_000_000)
    # Ended by what started it, such as `timeout`: what the case has started must end with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run = Run(proof, cases, seed, short=given.short)
    run.go()
    if given.amend or not (given.only or given.short):
        page.write(page.amended(run.document()) if given.amend else run.document())
        print(
            f"Written: {page.PAGE.relative_to(page.ROOT)}, {page.document(proof.name).relative_to(page.ROOT)}"
        )
    return 1 if run.failed else 0


def chosen(proof: Proof, only: list[str], *, short: bool) -> list[Case]:
    """Raises LookupError with the names that there are."""
    by_name = {case.name: case for case in proof.cases}
    if unknown := [name for name in only if name not in by_name]:
        raise LookupError(f"no case {', '.join(unknown)} in {proof.name}; there are {', '.join(by_name)}")
    if only:
        return [by_name[name] for name in only]
    return [case for case in proof.cases if case.short or not short]


class Run:
    """One run of some cases, one after the other: what they measure must not disturb each other."""

    def __init__(self, proof: Proof, cases: list[Case], seed: int, *, short: bool) -> None:
        self._proof, self._cases, self._seed, self._short = proof, cases, seed, short
        self._begin = time.monotonic()
        self._machine = described()
        self._rows: list[page.Row] = []

    @property
    def failed(self) -> bool:
        return any(row["verdict"] == page.FAILED for row in self._rows)

    def go(self) -> None:
        print(f"{self._proof.title}: {len(self._cases)} cases, seed {self._seed}", flush=True)
        for case in self._cases:
            self._rows.append(self._row(case))
        print()
        print(page.text_table(self.document()))

    def document(self) -> page.Document:
        return {
            "proof": self._proof.name,
            "columns": dict(self._proof.columns),
            "seed": self._seed,
            "seconds": round(time.monotonic() - self._begin),
            **self._machine,
            "rows": self._rows,
        }

    def _row(self, case: Case) -> page.Row:
        row = page.Row(name=case.name, title=case.title, verdict=page.NOT_RUN, seconds=0, figures={})
        if reason := missing(case.needs):
            print(f"-- {case.name}: not run: {reason}", flush=True)
            return row | {"reason": reason}
        begin = time.monotonic()
        print(f"-- {case.name}: {case.title}", flush=True)
        result = self._result(case, begin)
        row |= {
            "verdict": page.FAILED if result.faults else page.HELD,
            "seconds": round(time.monotonic() - begin),
            "figures": dict(result.figures),
        }
        for kind in ("faults", "missed", "series"):
            if found := getattr(result, kind):
                row[kind] = found
        for sentence in result.faults:
            print(f"   FAULT {sentence}", flush=True)
        for sentence in result.missed:
            print(f"   goal missed: {sentence}", flush=True)
        return row

    def _result(self, case: Case, begin: float) -> Result:
        left = self._proof.minutes * 60 - (begin - self._begin)
        with tempfile.TemporaryDirectory(prefix="tradepost-proof-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o755)  # where this is root, PostgreSQL runs under another account
            context = Context(
                folder=Path(folder),
                seed=self._seed,
                short=self._short,
                minutes=self._proof.minutes,
                say=lambda text: print(f"   {time.monotonic() - begin:6.1f} s  {text}", flush=True),
                cases=tuple(case.name for case in self._cases),
            )
            try:
                return asyncio.run(_run(case, context, left))
            except Exception as error:
                if os.environ.get("TRACEBACK"):
                    raise
                return Result(
                    faults=[f"the case itself broke: {type(error).__name__}: {error} (TRACEBACK=1)"]
                )


async def _run(case: Case, context: Context, seconds: float) -> Result:
    """A TimeoutError of the case's own is raised."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await case.run(context)
    except TimeoutError:
        if not limit.expired():
            raise
        return Result(faults=[f"it was not done within the {context.minutes:g} minutes of the proof"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
