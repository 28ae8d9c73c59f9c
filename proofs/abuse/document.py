"""docs/reliability/abuse.md, which is written from the tables: `python -m proofs.abuse`."""

from collections.abc import Iterator
from typing import Final

from proofs.abuse.tables import ROOT, VERDICTS, Row, Table, tables

PAGE: Final = ROOT / "docs/reliability/abuse.md"
HEAD: Final = """# Requirements of OWASP, one by one

[reliability.md](../reliability.md#abuse) has the counts, and the command that runs the tests. This page is
written from the tables in `proofs/abuse` by `python -m proofs.abuse`.
"""


def render() -> str:
    return "\n".join([HEAD, *(line for table in tables() for line in _table(table))]) + "\n"


def write() -> None:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render())


def _table(table: Table) -> Iterator[str]:
    yield f"## {table.title}\n"
    yield f"{table.source}\n"
    for verdict in VERDICTS:
        if any(row.verdict == verdict for row in table.rows):
            yield f"- **{verdict}**: {VERDICTS[verdict]}"
    for group, title in table.groups.items():
        yield f"\n### {group}: {title}\n"
        yield "| id | level | requirement | verdict | why, and which tests |"
        yield "| --- | --- | --- | --- | --- |"
        yield from (_line(row) for row in table.rows if row.group == group)
    yield ""


def _line(row: Row) -> str:
    held = [*(f"`{test.removeprefix('tests/')}`" for test in row.tests), *map(_link, row.documents)]
    why = " ".join(filter(None, [row.reason, ", ".join(held)]))
    cells = (row.id, str(row.level or ""), row.title, row.verdict, why)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _link(document: str) -> str:
    """To a heading, where it has an anchor; SECURITY.md's bold words have none."""
    path, _, anchor = document.partition("#")
    if path == "SECURITY.md":
        return f"[SECURITY.md](../../SECURITY.md): {anchor.replace('-', ' ')}"
    return f"[{path.removeprefix('docs/')}](../{document.removeprefix('docs/')})"
