"""The command `tradepost import`: products, customers and past orders from CSV files."""

import asyncio
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from service import imports
from service.cli.database import NO_SCHEMA, connected, database
from service.errors import ServiceError
from service.imports import Report, UnusableFile
from service.platform.config import Settings
from service.platform.database import Database, schema

AGAIN: Final = "What has gone in stays; run it again, and it goes on with the rest."
#: Of a program that SIGINT has ended, as shells count.
INTERRUPTED: Final = 130


class Bars(imports.Observer):
    """A progress bar for each file."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def begun(self, file: str, total: int) -> None:
        name = file.removesuffix(".csv").replace("_", " ")
        self._tasks[file] = self._progress.add_task(name, total=total)

    def advanced(self, file: str) -> None:
        self._progress.advance(self._tasks[file])


async def load(
    database: Database, settings: Settings, folder: Path, console: Console, *, password: str | None = None
) -> Report:
    """As imports.load, with progress bars."""
    bars = (TextColumn("{task.description:>11}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*bars, console=console) as progress:
        return await imports.load(database, settings, folder, password=password, observer=Bars(progress))


def show(report: Report, console: Console) -> None:
    """What was done, and every row that was not."""
    for kind in ("products", "customers", "orders"):
        added, known = report.added.get(kind, 0), report.known.get(kind, 0)
        console.print(f"{kind:>10}: {added} added, {known} there already", highlight=False)
    console.print(f"   refused: {len(report.refused)}", highlight=False)
    for refusal in report.refused:
        console.print(f"  {refusal}", highlight=False, markup=False, soft_wrap=True)


def run(settings: Settings, folder: str) -> int:
    """0 when every row went in or was there already, 1 when rows were refused or a file is unusable."""
    console = Console(stderr=True)
    with database(settings) as complete:
        try:
            report = asyncio.run(_run(complete, Path(folder), console))
        except UnusableFile as fault:
            print(fault, file=sys.stderr)
            return 1
        except ServiceError as fault:
            print(f"{fault} {AGAIN}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"Interrupted. {AGAIN}", file=sys.stderr)
            return INTERRUPTED
    show(report, console)
    return 1 if report.refused else 0


async def _run(settings: Settings, folder: Path, console: Console) -> Report:
    async with connected(settings) as database:
        if not await schema.has_schema(database):
            raise UnusableFile(NO_SCHEMA)
        return await load(database, settings, folder, console)
