"""Check the whole database: order totals, stock against its ledger, timelines, orphans.

It changes nothing and locks nothing: everything is read as of one moment, while the service goes on.
"""

import asyncio
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.cli.console import console
from service.cli.database import connected, database
from service.errors import CommandError, ConfigError, ServiceError
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


def run(settings: Settings, as_json: bool, max_age: str) -> int:
    """0 without faults, 1 with faults, 69 if nothing could be checked.

    With `max_age`, hours, data that no worker has touched since then are a fault: every check passes on a
    restored backup that is a year old.
    """
    hours = _hours(max_age)
    patient = settings.model_copy(update={"database_statement_timeout": STATEMENT_SECONDS})
    try:
        with database(patient) as complete:
            findings, old = asyncio.run(_verify(complete, hours))
    except (CommandError, SchemaMismatch, ServiceError) as fault:
        print(f"Nothing was checked: {fault}", file=sys.stderr)
        return NOT_CHECKED
    print(document(findings) if as_json else "\n".join(table(findings)))
    if old:
        print(old, file=sys.stderr)
    return 1 if old or any(finding.faults for finding in findings) else 0


def _hours(text: str) -> float:
    try:
        hours = float(text or "inf")
    except ValueError:
        hours = math.nan
    if not hours > 0:
        raise ConfigError(("--max-age: is no number of hours; write one above 0",))
    return hours


async def _verify(settings: Settings, hours: float) -> tuple[list[Finding], str]:
    async with connected(settings) as database:
        findings = await verify(database)
        async with database.transaction() as session:
            seconds = await verification.seconds_since_a_worker(session)
    if math.isinf(hours) or (seconds is not None and seconds <= hours * 3600):
        return findings, ""
    when = "no worker has run" if seconds is None else f"a worker last ran {seconds / 3600:.1f} hours ago"
    return findings, f"These data are too old: {when}, and --max-age is {hours:g} hours"
