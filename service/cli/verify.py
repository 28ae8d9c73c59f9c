"""Check the whole database: order totals, stock against its ledger, timelines, orphans.

It changes nothing and locks nothing: everything is read as of one moment, while the service goes on.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.cli.console import console
from service.cli.database import connected, database
from service.errors import CommandError, ServiceError
from service.platform.config import Settings
from service.platform.database import Database
from service.platform.database.schema import required_revision
from service.verification import repository as verification
from service.verification.repository import CHECKS
from service.verification.repository.check import Finding

#: EX_UNAVAILABLE of sysexits.h: the data could not be checked.
NOT_CHECKED: Final = 69
#: A statement reads whole tables here.
STATEMENT_SECONDS: Final = 6 * 3600.0


class SchemaMismatch(Exception):
    """The database is of another build."""


async def verify(database: Database) -> list[Finding]:
    """The findings of all checks, from one snapshot. Raises SchemaMismatch, ServiceError."""
    found, needed = await database.revision(), required_revision()[0]
    if found != needed:
        raise SchemaMismatch(f"the schema is at {found or 'no revision'}, and this build knows {needed}")
    bars = (TextColumn("{task.description:>16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*bars, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(CHECKS))
        findings = []
        async with database.transaction() as session:
            await verification.begin_snapshot(session)
            for check in CHECKS:
                progress.update(task, description=check.name)
                findings.append(await verification.find_faults(session, check))
                progress.advance(task)
    return findings


def table(findings: list[Finding]) -> Iterator[str]:
    """For people: each check, then each fault."""
    width = max(len(finding.check) for finding in findings)
    yield f"{'check':<{width}}  {'rows':>12}  {'faults':>8}"
    for finding in findings:
        yield f"{finding.check:<{width}}  {finding.rows:>12}  {finding.faults:>8}"
    yield ""
    for finding in findings:
        for fault in finding.first:
            yield f"{finding.check}: {fault.place}: {fault.fault}"
        if finding.faults > len(finding.first):
            yield f"{finding.check}: and {finding.faults - len(finding.first)} more"
    faults = sum(finding.faults for finding in findings)
    yield f"{faults} fault{'s' * (faults != 1)}" if faults else "No faults"


def document(findings: list[Finding]) -> str:
    """For machines: the same as one JSON document."""
    faults = sum(finding.faults for finding in findings)
    return json.dumps({"faults": faults, "checks": [asdict(finding) for finding in findings]}, indent=2)


def run(settings: Settings, as_json: bool) -> int:
    """0 without faults, 1 with faults, 69 if nothing could be checked."""
    patient = settings.model_copy(update={"database_statement_timeout": STATEMENT_SECONDS})
    try:
        with database(patient) as complete:
            findings = asyncio.run(_verify(complete))
    except (CommandError, SchemaMismatch, ServiceError) as fault:
        print(f"Nothing was checked: {fault}", file=sys.stderr)
        return NOT_CHECKED
    print(document(findings) if as_json else "\n".join(table(findings)))
    return 1 if any(finding.faults for finding in findings) else 0


async def _verify(settings: Settings) -> list[Finding]:
    async with connected(settings) as database:
        return await verify(database)
