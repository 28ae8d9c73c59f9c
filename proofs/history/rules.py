"""The rules, and what holds a history against all of them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from proofs.history import (
    access,
    answers,
    changes,
    keys,
    orders,
    reads,
    refreshes,
    stock,
    transitions,
    webhooks,
)
from proofs.history.evidence import Checks, Evidence
from proofs.history.final import FinalState
from proofs.load.history import History

Rule = Callable[[Evidence], Checks]

#: By group, which is what `leave_out` and the figures name.
RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "keys": (keys.one_effect, keys.not_done_when_refused, keys.other_request, keys.one_post),
    "orders": (orders.in_the_database,),
    "money": (orders.money, orders.prices),
    "stock": (stock.by_answers, stock.by_ledger, stock.sold),
    "reads": (
        reads.current,
        reads.one_content,
        reads.own_orders,
        reads.sent_by_someone,
        reads.whole_lists,
        reads.no_lost_update,
    ),
    "access": (access.revoked, access.not_revoked),
    "transitions": (transitions.allowed, transitions.kept, transitions.refused_with_reason),
    "webhooks": (webhooks.delivered, webhooks.one_id, webhooks.true),
    "changes": (changes.marks, changes.in_time, changes.nothing_missed),
    "refreshes": (refreshes.one_successor, refreshes.not_signed_out, refreshes.theft_found),
    "answers": (answers.problems, answers.refusals, answers.out_of_stock, answers.price_changed),
}


@dataclass
class Judgement:
    """Sentences by group of rules, and how many checks each group has made."""

    found: dict[str, list[str]] = field(default_factory=dict)
    checks: dict[str, int] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        return [f"{group}: {sentence}" for group, sentences in self.found.items() for sentence in sentences]


def judge(history: History, final: FinalState, leave_out: Collection[str] = ()) -> Judgement:
    evidence, judgement = Evidence(history, final), Judgement()
    for group, rules in RULES.items():
        if group not in leave_out:
            checks = [sentence for rule in rules for sentence in rule(evidence)]
            judgement.checks[group] = len(checks)
            judgement.found[group] = [sentence for sentence in checks if sentence is not None]
    return judgement


def check(history: History, final: FinalState, leave_out: Collection[str] = ()) -> list[str]:
    """A sentence for each fault, with the calls that prove it. `leave_out` names groups of RULES."""
    return judge(history, final, leave_out).faults
