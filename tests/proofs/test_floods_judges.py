"""What the floods' judges must notice, each in figures that are otherwise as they should be."""

from collections import Counter
from dataclasses import replace
from typing import Any, cast

import pytest

from proofs.floods.bench import Bench, Memory
from proofs.floods.generator import Measured, Outcome, Second
from proofs.floods.hostile import ATTACKS, Found, faults_of
from proofs.floods.overload import KINDS, Phases, judged
from proofs.floods.sockets import Attempts

GOOD = Outcome(100, 1.0, 2.0, 3.0)


def measured(**outcomes: Outcome) -> Measured:
    found = {name.removeprefix("s"): outcome for name, outcome in outcomes.items()}
    return Measured(100.0, [Second(1.0, found)], found)


def memory(*mib: float) -> Memory:
    return Memory(cast("Bench", None), [(100.0 + second, value) for second, value in enumerate(mib)])


CALM = measured(s200=GOOD)
PHASES = Phases(
    capacity=1_000.0,
    plain_cpu=0.001,
    before=CALM,
    flood=measured(s200=Outcome(600, 1.0, 900.0, 950.0), s503=Outcome(9_400, 1.0, 40.0, 45.0)),
    flood_seconds=1.0,
    flood_cpu=1.0,
    after=CALM,
    memory=memory(100.0, 110.0),
    memory_after=110.0,
)
FOUND = Found(
    before=CALM,
    meanwhile=CALM,
    after=CALM,
    attempts=Attempts(Counter({"431": 100})),
    cost=10.0,
    lines=100,
    memory=memory(100.0, 120.0),
    kept=5.0,
)
[HEADERS] = [attack for attack in ATTACKS if attack.name == "many-headers"]


class TestOverload:
    def test_nothing(self) -> None:
        found = judged(KINDS[1], PHASES)
        assert (found.faults, found.missed) == ([], [])
        assert (found.figures["accepted"], found.figures["recovery"]) == (0.6, 0.0)

    @pytest.mark.parametrize(
        ("broken", "fault"),
        [
            ({"flood": measured(s200=GOOD, s500=Outcome(3))}, "3 were answered with 500"),
            (
                {"flood": measured(s503=Outcome(9, without_retry_after=2), s200=GOOD)},
                "2 refusals had no Retry-After",
            ),
            (
                {"flood": measured(s200=GOOD, broken=Outcome(4))},
                "4 connections were closed without a response",
            ),
            ({"memory_after": 200.0}, "100 MiB more memory is kept"),
            (
                {"after": measured(s200=GOOD, s503=Outcome(1))},
                "requests are still refused when the flood is over",
            ),
        ],
    )
    def test_faults(self, broken: dict[str, Any], fault: str) -> None:
        assert judged(KINDS[1], replace(PHASES, **broken)).faults == [fault]

    @pytest.mark.parametrize(
        ("slow", "words"),
        [
            ({"flood": measured(s200=Outcome(9, 1.0, 1_500.0, 1_600.0))}, "p99 of 1,500 ms"),
            ({"flood": measured(s200=GOOD, s503=Outcome(9, 1.0, 80.0, 90.0))}, "shed within 80 ms"),
            ({"flood": measured(s200=GOOD, timed_out=Outcome(5))}, "5 requests had no response"),
            ({"flood": measured(s200=GOOD, unsent=Outcome(100))}, "100 of 200 requests found none"),
            ({"after": measured(s200=Outcome(9, 1.0, 70.0, 80.0))}, "not back where it was"),
        ],
    )
    def test_goals(self, slow: dict[str, Any], words: str) -> None:
        found = judged(KINDS[1], replace(PHASES, **slow))
        assert found.faults == []
        assert len(found.missed) == 1
        assert words in found.missed[0]


class TestHostile:
    def test_nothing(self) -> None:
        assert faults_of(HEADERS, FOUND) == []

    @pytest.mark.parametrize(
        ("broken", "fault"),
        [
            ({"meanwhile": measured(s503=GOOD)}, "meanwhile the good client got 503, 100 times"),
            ({"after": measured(timed_out=Outcome(2))}, "afterwards the good client got timed_out, 2 times"),
            (
                {"meanwhile": measured(s200=Outcome(9, 1.0, 2.0, 7_000.0))},
                "meanwhile the good client waited 7.0 s for a response",
            ),
            ({"attempts": Attempts(Counter({"431": 99, "500": 1}))}, "attempts were answered with 500"),
            ({"lines": 500}, "100 attempts wrote 500 lines to the log"),
            ({"kept": 300.0}, "300 MiB of memory did not come back"),
        ],
    )
    def test_faults(self, broken: dict[str, Any], fault: str) -> None:
        assert faults_of(HEADERS, replace(FOUND, **broken)) == [fault]
