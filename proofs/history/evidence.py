"""All that the rules look at, and how they name what they found."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Final, TypeVar

from proofs.history.final import FinalState
from proofs.load.history import Call, History

#: A rule yields None for each check that held, and a sentence for each that did not.
Checks = Iterator[str | None]

#: How long after an acknowledged change a read from a cache may still be of before.
STALE_SECONDS: Final = 1.0
#: Calls that are named in a sentence at most.
NAMED: Final = 4


Key = TypeVar("Key")
Value = TypeVar("Value")


class Evidence:
    def __init__(self, history: History, final: FinalState) -> None:
        self.calls, self.final = history.calls, final
        #: What the clock of the day is ahead of the monotonic one.
        self.wall = history.wall
        self._began = min((call.begin for call in self.calls), default=0.0)

    def cite(self, *calls: Call) -> str:
        """The calls that prove it: client, time since the beginning, key and answer."""
        shown = [self._cited(call) for call in calls[:NAMED]]
        more = len(calls) - NAMED
        return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")

    def _cited(self, call: Call) -> str:
        times = f"{call.begin - self._began:.3f}-{call.end - self._began:.3f} s"
        answer = f"{call.status} {call.code or ''}".strip() if call.status else call.error
        key = f", key {call.key}" if call.key else ""
        return f"[{call.number}: {call.client}, {times}, {call.method} {call.path}{key}: {answer}]"

    def of(self, *operations: str) -> list[Call]:
        return [call for name in operations for call in self._by_operation.get(name, ())]

    @cached_property
    def _by_operation(self) -> dict[str, list[Call]]:
        return grouped((call.operation, call) for call in self.calls)

    @cached_property
    def uses_of_keys(self) -> dict[tuple[str, str], list[Call]]:
        """By operation and key."""
        return grouped(((call.operation, call.key), call) for call in self.calls if call.key is not None)

    @cached_property
    def uses_of_credentials(self) -> dict[str, list[Call]]:
        return grouped((call.credential, call) for call in self.calls if call.credential is not None)


def unless(held: bool, sentence: str) -> str | None:
    """What a rule yields for one check."""
    return None if held else sentence


def grouped(pairs: Iterable[tuple[Key, Value]]) -> dict[Key, list[Value]]:
    found: dict[Key, list[Value]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return found


def answered(calls: Sequence[Call]) -> Call | None:
    """The first that was done."""
    return next((call for call in calls if call.done), None)


def may_have_been_done(calls: Sequence[Call]) -> bool:
    return any(not call.refused for call in calls)
