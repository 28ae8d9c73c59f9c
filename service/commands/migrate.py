"""Bring the schema to this build's revision, and make the first administrator."""

import asyncio
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config

import service
from service.config import Settings
from service.database import Database
from service.errors import ConfigError
from service.security import Passwords
from service.services import users

log = structlog.get_logger(__name__)


def alembic_config(url: str) -> Config:
    """Alembic's configuration without its ini file, which an installed package does not have."""
    config = Config()
    config.set_main_option("script_location", str(Path(service.__file__).parent / "migrations"))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """To the newest revision. Several at once wait for each other by an advisory lock."""
    command.upgrade(alembic_config(url), "head")


async def make_administrator(database: Database, settings: Settings) -> bool:
    """The first administrator from ADMIN_EMAIL and ADMIN_PASSWORD, when there is none."""
    if settings.admin_email is None or settings.admin_password is None:
        return False
    passwords = Passwords()
    password_hash = await passwords.hash(settings.admin_password.get_secret_value())
    passwords.close()
    async with database.transaction() as session:
        made = await users.ensure_administrator(
            session, email=settings.admin_email, full_name="Administrator", password_hash=password_hash
        )
    if made:
        log.info("administrator.created")
    return made


def direct_url(settings: Settings) -> str:
    """Past any pooler: migrations hold a session's lock."""
    url = settings.database_direct_url or settings.database_url
    if url is None:
        raise ConfigError(("DATABASE_URL: is missing; write postgresql://user:password@host:5432/name",))
    return url.get_secret_value()


def run(settings: Settings) -> int:
    url = direct_url(settings)
    upgrade(url)

    async def administrator() -> None:
        database = Database(url, settings)
        try:
            await make_administrator(database, settings)
        finally:
            await database.close()

    asyncio.run(administrator())
    log.info("schema.migrated")
    return 0
