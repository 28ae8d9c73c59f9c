"""What the frame of every proof makes of a case that breaks, or that does not end."""

import asyncio

import pytest

from proofs.__main__ import Run
from proofs.cases import Case, Context, Proof, Result


async def held(_: Context) -> Result:
    return Result()


async def times_out(_: Context) -> Result:
    async with asyncio.timeout(0):
        await asyncio.sleep(60)
    return Result()


async def never_ends(_: Context) -> Result:
    await asyncio.sleep(60)
    return Result()


def run(case: Case, minutes: float) -> Run:
    made = Run(Proof("faults", "A proof", {}, [case], minutes), [case], 1, short=False)
    made.go()
    return made


def test_a_case_that_holds() -> None:
    made = run(Case("held", "nothing", held), 1)
    assert not made.failed
    assert [row["verdict"] for row in made.document()["rows"]] == ["held"]


@pytest.mark.parametrize(
    ("case", "minutes", "fault"),
    [
        (Case("own", "its own limit", times_out), 1, "the case itself broke: TimeoutError:  (TRACEBACK=1)"),
        (Case("never", "no end", never_ends), 0.001, "it was not done within the 0.001 minutes of the proof"),
    ],
    ids=["own", "of the proof"],
)
def test_a_limit_of_the_case_is_not_taken_for_that_of_the_proof(
    case: Case, minutes: float, fault: str
) -> None:
    made = run(case, minutes)
    assert made.failed
    assert made.document()["rows"][0]["faults"] == [fault]


def test_what_cannot_run_here_has_not_held(capsys: pytest.CaptureFixture[str]) -> None:
    made = run(Case("absent", "nothing", held, needs=("no-such-program",)), 1)
    assert made.document()["rows"][0]["reason"] == "needs the program no-such-program"
    assert "Nothing was run" in capsys.readouterr().out
