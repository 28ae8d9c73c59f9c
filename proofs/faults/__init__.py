"""Databases, networks, upstreams and processes that fail while clients use the shop: `make prove-faults`.

A case runs a shop under the steady load, lets it be for a while, does its harm, and waits until every kind of
client has good answers again (`load.py`). What it saw goes to `judge.py`.
"""

from proofs.cases import Case, Proof
from proofs.faults import postgresql
from proofs.faults.judge import COLUMNS

PROOF = Proof(
    "faults",
    "Faults under steady load",
    COLUMNS,
    (
        Case("stopped", "PostgreSQL is stopped for 30 s", postgresql.stopped, short=True),
        Case("restarted", "PostgreSQL is restarted 20 times, fast or immediate", postgresql.restarted),
    ),
)
