"""Databases, networks, upstreams and processes that fail while clients use the shop: `make prove-faults`.

A case runs a shop under the steady load, lets it be for a while, does its harm, and waits until every kind of
client has good answers again (`load.py`). What it saw goes to `judge.py`.
"""

from proofs.cases import Case, Proof
from proofs.faults import disk, locks, network, pooler, postgresql, service_cases, standby
from proofs.faults.inside import NEEDS, in_namespace
from proofs.faults.judge import COLUMNS

PROOF = Proof(
    "faults",
    "Faults under steady load",
    COLUMNS,
    (
        Case("stopped", "PostgreSQL is stopped for 30 s", postgresql.stopped, short=True),
        Case("restarted", "PostgreSQL is restarted 20 times, fast or immediate", postgresql.restarted),
        Case(
            "promoted",
            "a standby is promoted, by a list of addresses; the old primary read-only for 5 s, then gone",
            standby.promoted,
        ),
        Case(
            "vanished",
            "a standby is promoted 5 s after the packets of the old primary are dropped",
            in_namespace(standby.vanished),
            NEEDS,
        ),
        Case(
            "renamed",
            "a standby is promoted, and the database's name leads to it",
            in_namespace(standby.renamed),
            NEEDS,
        ),
        Case("terminated", "PostgreSQL ends a session every 0.1 s, for 10 s", network.terminated),
        Case("reset", "a connection to PostgreSQL is reset every 0.1 s, for 10 s", network.reset),
        Case(
            "dropped",
            "packets to and from PostgreSQL are dropped for 30 s",
            in_namespace(network.dropped),
            NEEDS,
        ),
        Case(
            "forgotten",
            "packets of all connections that there are to PostgreSQL are dropped from then on",
            in_namespace(network.forgotten),
            NEEDS,
        ),
        Case(
            "pooler",
            "PgBouncer in between is killed and started again 5 times, then gone for 15 s",
            pooler.pooler,
            ("pgbouncer",),
        ),
        Case("disk", "PostgreSQL's disk is full for 20 s", in_namespace(disk.full), NEEDS),
        Case(
            "locks",
            "the stock of half of the items is locked for 60 s, after 30 s the table of orders too",
            locks.held,
        ),
        *service_cases.CASES,
    ),
    # A quarter of an hour where nothing else runs.
    minutes=20,
)
