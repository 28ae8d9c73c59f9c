"""Create an administrator: by hand, or where no person is at a terminal, from the settings."""

import asyncio
import getpass
import sys

from pydantic import SecretStr, ValidationError

from service import accounts
from service.accounts import UserCreate
from service.cli import migrate
from service.cli.database import NO_SCHEMA, connected, database, direct_url
from service.errors import ConfigError, ServiceError
from service.identity import Passwords
from service.platform.config import Settings
from service.platform.config.password_policy import is_published
from service.platform.database import schema
from service.platform.http.field_errors import message


def run(settings: Settings, email: str) -> int:
    """The password is asked for, or read from standard input: an argument would show in `ps`.

    Without `email` both come from ADMIN_EMAIL and ADMIN_PASSWORD, as a Job has them from a Secret.
    """
    if email:
        password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    elif settings.admin_email and settings.admin_password:
        email, password = settings.admin_email, settings.admin_password.get_secret_value()
    else:
        raise ConfigError(("ADMIN_EMAIL: is missing; name the address, or set it and ADMIN_PASSWORD",))
    try:
        new = UserCreate(email=email, password=SecretStr(password), full_name="Administrator")
    except ValidationError as error:
        for fault in error.errors(include_input=False, include_url=False):
            print(f"{fault['loc'][0]}: {message(fault)}", file=sys.stderr)
        return 1
    if settings.environment == "production" and is_published(password):
        print("password: is published with the source code; choose another", file=sys.stderr)
        return 1
    with database(settings) as complete:
        if complete.environment != "production":
            migrate.upgrade(direct_url(complete))
        return asyncio.run(_create(complete, new))


async def _create(settings: Settings, new: UserCreate) -> int:
    passwords = Passwords()
    try:
        password_hash = await passwords.hash(new.password.get_secret_value())
        async with connected(settings) as database:
            if not await schema.has_schema(database):
                print(NO_SCHEMA, file=sys.stderr)
                return 1
            async with database.transaction() as session:
                user = await accounts.create_user(session, new, password_hash, is_admin=True)
    except ServiceError as refusal:
        print(refusal.detail, file=sys.stderr)
        return 1
    finally:
        passwords.close()
    print(f"Administrator {user.email} created, with id {user.id}.")
    return 0
