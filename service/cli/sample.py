"""Load the sample business, for development only."""

import asyncio
import sys

from service import accounts
from service.cli import dev_only, import_csv, migrate
from service.cli.console import console
from service.cli.database import connected, database, direct_url
from service.cli.import_csv import UnusableFile
from service.identity import Passwords
from service.platform.config import Settings
from service.platform.database import Database


async def load(settings: Settings) -> None:
    """Load what is not there yet, and say who can sign in and what was refused."""
    with dev_only.required("The sample"):
        from service.dev import sample_data
    async with connected(settings) as database:
        await _ensure_administrator(database, sample_data.ADMINISTRATOR, sample_data.PASSWORD)
        report = await import_csv.load(
            database, settings, sample_data.FOLDER, console, password=sample_data.PASSWORD
        )
    import_csv.show(report, console)
    console.print(
        f"Sample accounts, all with the password {sample_data.PASSWORD}: alfki@northwind.example and 90 more"
        f" customers (the ids in {sample_data.FOLDER.name}/customers.csv in small letters), and the"
        f" administrator {sample_data.ADMINISTRATOR}"
    )


async def _ensure_administrator(database: Database, email: str, password: str) -> None:
    passwords = Passwords()
    password_hash = await passwords.hash(password)
    passwords.close()
    async with database.transaction() as session:
        await accounts.ensure_administrator(
            session, email=email, full_name="Sample Administrator", password_hash=password_hash
        )


def run(settings: Settings) -> int:
    if settings.environment == "production":
        print("The sample is for development: its passwords are published.", file=sys.stderr)
        return 1
    with dev_only.required("The command `sample`"):
        import service.dev.sample_data  # noqa: F401 - before anything is done
    with database(settings) as complete:
        migrate.upgrade(direct_url(complete))
        try:
            asyncio.run(load(complete))
        except UnusableFile as fault:
            print(fault, file=sys.stderr)
            return 1
    return 0
