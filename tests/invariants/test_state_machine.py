"""Whatever people do, one after the other, at once or cut off: the shop is one that the model can be in."""

import os
import sys
import time
from collections.abc import Callable
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from service.platform.config import Settings
from tests.invariants.model import ADMIN, TRANSITIONS, Request, Shop, ends
from tests.invariants.requests import (
    CUSTOMERS,
    Place,
    Transition,
    Wanted,
    anything,
    changes,
    onward,
    places,
    positions,
    restockings,
    rush,
    tried,
)
from tests.invariants.world import World, open_world

#: In the environment, for `make prove-fuzz`: how many steps, and where the choices start.
STEPS, SEED = "FUZZ_STEPS", "FUZZ_SEED"
EVERY_DAY = 280
BUYERS = (*CUSTOMERS, ADMIN)
#: The transitions of the orders that every machine begins with: one in each state.
ALREADY_THERE: tuple[tuple[str, ...], ...] = (
    (),
    ("pay",),
    ("pay", "ship"),
    ("pay", "ship", "deliver"),
    ("cancel",),
    ("pay", "cancel"),
    ("pay", "cancel", "refund"),
)
STATUSES = ("placed", *(target for _, target in TRANSITIONS.values()))
A_MACHINE = 40


class Shopping(RuleBasedStateMachine):
    world: ClassVar[World]
    steps: ClassVar[int]
    told: ClassVar[Callable[[int], None]]

    def __init__(self) -> None:
        super().__init__()
        self.shop: Shop = self.world.run(self.world.open_shop())
        self.keyed: list[Request] = []
        self.broken = False
        for transitions in ALREADY_THERE:
            self.do(Place("c", ((2, 1),), None, 0, "standard", address=True, key=None), counted=False)
            for name in transitions:
                self.do(Transition(name, ADMIN, 0, None), counted=False)

    def do(
        self,
        *wanted: Wanted,
        twice: bool = False,
        killing_after: float | None = None,
        counted: bool = True,
    ) -> None:
        requests = [each.ask(self.shop, self.world.user_ids) for each in wanted]
        if twice:
            requests.append(requests[0])
        self.send(requests, killing_after)
        Shopping.steps += counted
        Shopping.told(Shopping.steps)

    def send(self, requests: list[Request], killing_after: float | None = None) -> None:
        self.broken = True
        world = self.world
        answers = world.run(world.ask_all(requests, killing_after=killing_after))
        seen = world.run(world.picture())
        possible = list(ends(requests, answers, self.shop))
        told = [*map(str, zip(requests, answers, strict=True))]
        assert possible, "\n".join(["No order of these explains the answers:", *told, str(self.shop)])
        explained = [shop for shop in possible if shop.picture() == seen]
        if not explained:
            assert seen == possible[0].picture(), "\n".join(told)
        self.shop = explained[0]
        self.keyed += [request for request in requests if request.key is not None]
        self.broken = False

    @rule(wanted=anything)
    def alone(self, wanted: Wanted) -> None:
        self.do(wanted)

    @rule(wanted=places)
    def order(self, wanted: Wanted) -> None:
        self.do(wanted)

    @rule(wanted=st.one_of(restockings, changes))
    def manage(self, wanted: Wanted) -> None:
        self.do(wanted)

    @rule(wanted=st.lists(anything, min_size=2, max_size=4), twice=st.booleans())
    def at_once(self, wanted: list[Wanted], twice: bool) -> None:
        self.do(*wanted[: 3 if twice else 4], twice=twice)

    @rule(position=st.integers(0, 2), buyers=st.lists(st.sampled_from(BUYERS), min_size=2, max_size=4))
    def rush(self, position: int, buyers: list[str]) -> None:
        self.do(*rush(self.shop, position, buyers))

    @rule(position=positions, choices=st.lists(st.integers(0, 1), min_size=1, max_size=4))
    def onward(self, position: int, choices: list[int]) -> None:
        for left, choice in reversed([*enumerate(choices)]):
            self.do(onward(self.shop, position, choice), counted=left == 0)

    @rule(status=st.sampled_from(STATUSES), name=st.sampled_from(sorted(TRANSITIONS)))
    def try_to(self, status: str, name: str) -> None:
        self.do(tried(self.shop, status, name))

    @rule(status=st.sampled_from(STATUSES))
    def all_transitions(self, status: str) -> None:
        self.do(*(tried(self.shop, status, name) for name in TRANSITIONS))

    @rule(
        position=positions,
        choice=st.integers(0, 1),
        others=st.lists(st.sampled_from(sorted(TRANSITIONS)), min_size=1, max_size=2),
    )
    def rivals(self, position: int, choice: int, others: list[str]) -> None:
        """Transitions of one order, of which one at least can be made."""
        transitions = [Transition(name, ADMIN, position, None) for name in others]
        self.do(onward(self.shop, position, choice), *transitions)

    @precondition(lambda self: self.keyed)
    @rule(position=positions, times=st.integers(1, 3))
    def again(self, position: int, times: int) -> None:
        """A retry, late or by several at once."""
        self.send([self.keyed[-1 - position % len(self.keyed)]] * times)
        Shopping.steps += 1

    @rule(wanted=st.lists(anything, min_size=1, max_size=3), milliseconds=st.integers(0, 12))
    def cut_off(self, wanted: list[Wanted], milliseconds: int) -> None:
        """Every connection that is at work is killed, three times."""
        self.do(*wanted, killing_after=milliseconds / 1000)

    def teardown(self) -> None:
        if not self.broken:
            assert self.world.run(self.world.faults()) == []


def run_machines(settings: Settings, steps: int, choices: int | None, told: Callable[[int], None]) -> None:
    """So many steps, or some more; the same ones each time where `choices` is None."""
    with open_world(settings) as world:
        Shopping.world, Shopping.steps, Shopping.told = world, 0, told
        while Shopping.steps < steps:
            run_state_machine_as_test(
                Shopping if choices is None else seed(choices + Shopping.steps)(Shopping),
                settings=hypothesis_settings(
                    max_examples=-(-(steps - Shopping.steps) // A_MACHINE),
                    stateful_step_count=A_MACHINE,
                    derandomize=choices is None,
                    database=None,
                    deadline=None,
                    # What was interleaved once is not interleaved alike again: no use to look for less.
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                ),
            )


def test_the_shop_is_as_the_model_says(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    """`make prove-fuzz` asks for more, and for others each time."""
    if STEPS not in os.environ:
        run_machines(settings, EVERY_DAY, None, lambda _: None)
        return
    wanted, choices = int(os.environ[STEPS]), int(os.environ.get(SEED) or time.time_ns() // 1000)
    with capfd.disabled():
        sys.stdout.write(f"\n{SEED}={choices} makes the same choices again.\n")
        quiet = settings.model_copy(update={"log_level": "ERROR"})
        run_machines(quiet, wanted, choices, lambda steps: _show(steps, wanted))
        sys.stdout.write("\n")


def _show(steps: int, wanted: int) -> None:
    if sys.stdout.isatty() or steps % 1000 == 0:
        end = "" if sys.stdout.isatty() else "\n"
        sys.stdout.write(f"\r{steps:,} of {wanted:,} steps{end}")
        sys.stdout.flush()
