"""Changing a password, and proving that the caller knows it."""

from pydantic import SecretStr

from service import audit
from service.accounts.errors import WrongPassword
from service.accounts.passwords import repository
from service.accounts.passwords.schemas import PasswordChange
from service.identity import Caller, Passwords, end_sessions, lock_own_account
from service.platform.database import Database
from service.platform.mail import repository as mails


async def require_current(database: Database, passwords: Passwords, user_id: int, given: SecretStr) -> str:
    """The stored hash, if `given` is the user's password. Reads and hashes outside of any transaction.

    Raises WrongPassword.
    """
    async with database.reading() as session:
        stored = await repository.get_password_hash(session, user_id)
    if stored is None or not await passwords.verify(stored, given.get_secret_value()):
        raise WrongPassword
    return stored


async def change_password(
    database: Database, passwords: Passwords, caller: Caller, change: PasswordChange
) -> None:
    """Ends the other sessions. Hashes outside of any transaction; the write compares and sets."""
    stored = await require_current(database, passwords, caller.user_id, change.current_password)
    fresh = await passwords.hash(change.new_password.get_secret_value())
    async with database.transaction() as session:
        await lock_own_account(session, caller)
        if not await repository.change_password(session, caller.user_id, old_hash=stored, new_hash=fresh):
            raise WrongPassword
        await end_sessions(session, caller.user_id, but=caller.session_id)
        await mails.enqueue(session, "password_changed", user_id=caller.user_id)
        await audit.record(
            session, "password.changed", by=caller, target_kind="user", target_id=caller.user_id
        )
