"""The requirements of OWASP, each held by tests that are run here, or with the reason why it is not."""

from functools import partial

from proofs.abuse.run import chapter
from proofs.abuse.tables import BY_DESIGN, HELD, NOT_APPLICABLE, OPEN, OUTSIDE, tables
from proofs.cases import Case, Proof

COLUMNS = {
    "rows": "requirements",
    HELD: "held",
    BY_DESIGN: "not met by design",
    NOT_APPLICABLE: "not applicable",
    OUTSIDE: "the platform's",
    OPEN: "open",
    "tests": "tests run",
}

PROOF = Proof(
    name="abuse",
    title="Requirements of OWASP, and the tests that hold them",
    columns=COLUMNS,
    cases=[
        Case(
            name=group, title=f"{table.title.partition(',')[0]}: {title}", run=partial(chapter, table, group)
        )
        for table in tables()
        for group, title in table.groups.items()
    ],
)
