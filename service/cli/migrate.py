"""Bring the schema to this build's revision, make the first administrator and the audit log's partitions."""

import asyncio
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config

import service
from service import accounts, audit
from service.cli.database import connected, direct_url
from service.errors import CommandError, ConfigError, ServiceError
from service.identity import Passwords
from service.platform.config import Settings, direct_setting
from service.platform.database import Database, connections, schema
from service.platform.database.connections import cause_of
from service.platform.database.errors import meaning_of

log = structlog.get_logger(__name__)


def alembic_config(url: str) -> Config:
    """Alembic's configuration without its ini file, which an installed package does not have."""
    config = Config()
    config.set_main_option("script_location", str(Path(service.__file__).parent / "migrations"))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """To the newest revision. Several at once wait for each other by an advisory lock.

    Raises Unavailable when the database cannot be used, or another client holds a lock on a table.
    """
    try:
        command.upgrade(alembic_config(url), "head")
    except Exception as fault:
        meaning = meaning_of(fault)
        if meaning is fault:
            raise
        raise meaning from fault


async def _is_needed(settings: Settings) -> bool:
    """Not at this build's revision or a newer one, which is left as it is. Asked without the lock: a Job
    that is run again, or before a roll-back, must not wait for another.
    """
    async with connected(settings) as database:
        return not await schema.has_schema(database)


async def make_administrator(database: Database, settings: Settings) -> bool:
    """The first administrator from ADMIN_EMAIL and ADMIN_PASSWORD, when there is none."""
    if settings.admin_email is None or settings.admin_password is None:
        return False
    passwords = Passwords()
    password_hash = await passwords.hash(settings.admin_password.get_secret_value())
    passwords.close()
    try:
        made = await _ensure(database, settings.admin_email, password_hash)
    except accounts.EmailTaken:
        # Perhaps by another process that does the same at this moment: its administrator is seen now.
        try:
            made = await _ensure(database, settings.admin_email, password_hash)
        except accounts.EmailTaken:
            fault = "ADMIN_EMAIL: belongs to an ordinary account, which is never promoted; choose another"
            raise ConfigError((fault,)) from None
    if made:
        log.info("administrator.created")
    return made


async def _ensure(database: Database, email: str, password_hash: str) -> bool:
    async with database.transaction() as session:
        return await accounts.ensure_administrator(
            session, email=email, full_name="Administrator", password_hash=password_hash
        )


async def _keep_addresses(database: Database, settings: Settings) -> None:
    """A table that is busy just now is no reason to fail: every process tries again within the day."""
    try:
        await audit.keep_addresses(database, settings.retention_audit)
    except ServiceError as fault:
        log.warning("audit.upkeep_postponed", fault=type(fault).__name__)


async def _complete(settings: Settings) -> None:
    async with connected(settings) as database:
        await make_administrator(database, settings)
        await _keep_addresses(database, settings)


def run(settings: Settings) -> int:
    """A migration that fails names its cause in one line of the log, and in the last line that it writes:
    Kubernetes shows the end of what a failed container has written.
    """
    try:
        return _migrate(settings)
    except (CommandError, ConfigError):
        raise
    except Exception as fault:
        known = isinstance(fault, ServiceError)
        cause = f"{direct_setting(settings)}: {cause_of(fault)}{'' if known else _first_line(fault)}"
        log.critical("migration.failed", cause=cause, exc_info=not known)
        raise CommandError(cause) from fault


def _first_line(fault: Exception) -> str:
    """What the server has said. Below the first line it quotes rows."""
    *_, first = connections.chain(fault)
    return f" ({str(first).partition(chr(10))[0]})"


def _migrate(settings: Settings) -> int:
    if asyncio.run(_is_needed(settings)):
        upgrade(direct_url(settings))
    asyncio.run(_complete(settings))
    log.info("schema.migrated")
    return 0
