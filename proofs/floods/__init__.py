"""Floods: more requests than one worker can answer, and requests made to cost much."""

from typing import Final

from proofs.cases import Proof
from proofs.floods import fairness, hostile, overload

PROOF: Final = Proof(
    name="floods",
    title="Floods: more than it can answer, and hostile requests",
    columns={
        "offered": "requests or attempts",
        "answers": "responses by status",
        "accepted": "accepted, of capacity",
        "p99": "p99 of the accepted, ms",
        "refused": "p99 of the shed, ms",
        "cost": "CPU of one, in plain requests",
        "good": "p99 of another client, in unloaded ones",
        "lines": "log lines of one",
        "peak": "more memory, MiB",
        "after": "still afterwards, MiB",
        "recovery": "as before after, s",
    },
    cases=[*overload.CASES, *hostile.CASES, *fairness.CASES],
)
