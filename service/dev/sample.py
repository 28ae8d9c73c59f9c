"""The sample business: Northwind's products, customers and past orders, for development only."""

import asyncio
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from service import accounts
from service.cli import import_csv, migrate
from service.cli.csv_rows import UnusableFile
from service.dev import local_database
from service.identity.passwords import Passwords
from service.platform.config import Settings
from service.platform.database import Database

#: The same for every sample account. Production refuses SAMPLE.
PASSWORD: Final = "Northwind1"  # noqa: S105
ADMINISTRATOR: Final = "admin@northwind.example"
FOLDER: Final = Path(__file__).parents[2] / "sample"


async def load(database: Database, settings: Settings, console: Console) -> None:
    """Load what is not there yet, and say who can sign in and what was refused."""
    await _administrator(database)
    report = await import_csv.load(database, settings, FOLDER, console, password=PASSWORD)
    import_csv.show(report, console)
    console.print(
        f"Sample accounts, all with the password {PASSWORD}: alfki@northwind.example and 90 more customers",
        f"(the ids in {FOLDER.name}/customers.csv in small letters), and the administrator {ADMINISTRATOR}",
        highlight=False,
        soft_wrap=True,
    )


async def _administrator(database: Database) -> None:
    passwords = Passwords()
    password_hash = await passwords.hash(PASSWORD)
    passwords.close()
    async with database.transaction() as session:
        await accounts.ensure_administrator(
            session, email=ADMINISTRATOR, full_name="Sample Administrator", password_hash=password_hash
        )


def run(settings: Settings) -> int:
    if settings.environment == "production":
        print("The sample is for development: its passwords are known to everybody.", file=sys.stderr)
        return 1
    with local_database.database(settings) as complete:
        migrate.upgrade(migrate.direct_url(complete))
        try:
            asyncio.run(_run(complete))
        except UnusableFile as fault:
            print(fault, file=sys.stderr)
            return 1
    return 0


async def _run(settings: Settings) -> None:
    database = Database(migrate.direct_url(settings), settings)
    try:
        await load(database, settings, local_database.console)
    finally:
        await database.close()
