"""Reproduces faults, tries all of them, or writes the page.

python -m proofs.found 12 13        their tests before and at the mend
python -m proofs.found --try-all    all that are not known yet, into trials.json
python -m proofs.found --page       docs/reliability/faults-found.md, and its summary
"""

import argparse
import sys

from proofs.found import table
from proofs.found.record import Fault, by_number, faults, keep, reproduced, trials
from proofs.found.trial import reproduce


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m proofs.found", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "numbers", nargs="*", type=int, metavar="FAULT", help="numbers of docs/reliability/faults-found.md"
    )
    parser.add_argument("--try-all", action="store_true", help="all that are not known to be reproduced")
    parser.add_argument("--again", action="store_true", help="with --try-all: also those that are known")
    parser.add_argument("--page", action="store_true", help="write the page from what is known")
    given = parser.parse_args(arguments)
    if given.page:
        table.write()
        return 0
    if given.try_all:
        return _try_all(again=given.again)
    if not given.numbers:
        parser.error("which fault? FAULT=n of docs/reliability/faults-found.md")
    try:
        return _reproduce([by_number(number) for number in given.numbers])
    except LookupError as unknown:
        parser.error(str(unknown))


def _reproduce(chosen: list[Fault]) -> int:
    held = True
    for fault in chosen:
        print(f"Fault {fault.number}: {fault.symptom}\nMended by {fault.mended}: {fault.cause}")
        if fault.not_tried:
            print(f"It is not run on the commit before: {fault.not_tried}.\nToday's test: {fault.test}")
    for fault, trial in reproduce([each for each in chosen if not each.not_tried], _say):
        print(f"Fault {fault.number}: before the mend: {trial['before']}; at the mend: {trial['after']}")
        if trial["shows"]:
            print(f"    {trial['shows']}")
        print(f"Reproduced: {table.outcome(fault, trial)}")
        held = held and reproduced(trial)
    return 0 if held else 1


def _try_all(*, again: bool) -> int:
    known = trials()
    waiting = [
        fault
        for fault in faults()
        if not fault.not_tried and (again or not reproduced(known.get(fault.number)))
    ]
    for done, (fault, trial) in enumerate(reproduce(waiting, _say), 1):
        keep({fault.number: trial})
        print(f"{done}/{len(waiting)} fault {fault.number}: {trial['before']}, {trial['after']}", flush=True)
    return 0


def _say(text: str) -> None:
    print(f"-- {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
