"""Deletion of the caller's account: the personal data is erased, the orders stay."""

from typing import Final

from service import accounts, audit
from service.customers.erasure import repository as erasure
from service.customers.erasure.schemas import AccountDeletion
from service.errors import InvalidToken
from service.identity import Caller, Passwords, reauthorize
from service.platform.database import Database
from service.platform.http.etag.versions import Versions, require
from service.platform.http.idempotency import repository as idempotency

#: What stands where a name is shown, as beside a post.
NAME: Final = "Erased customer"
#: A domain that does not exist (RFC 2606), and that registration refuses.
DOMAIN: Final = "erased.invalid"


async def erase(
    database: Database,
    passwords: Passwords,
    caller: Caller,
    deletion: AccountDeletion,
    *,
    expected: Versions | None = None,
) -> None:
    """Hashes outside of any transaction; under the lock the hash is compared once more.

    Unpaid orders stay: the worker cancels them when their payment window ends.

    Raises:
        WrongPassword.
        LastAdministrator: another user must become an administrator first.
    """
    stored = await accounts.require_current(database, passwords, caller.user_id, deletion.current_password)
    async with database.transaction() as session:
        # First, and in the order in which every transaction locks them.
        administrators = await accounts.lock_administrators(session)
        account = await erasure.lock(session, caller.user_id)
        await reauthorize(session, caller, needs_role=False)
        if account is None:
            raise InvalidToken
        if account.password_hash != stored:
            raise accounts.WrongPassword
        require(expected, account)
        accounts.require_other_administrator(administrators, caller.user_id)
        # Before the rest, so that the address it comes from goes with the others.
        await audit.record(session, "user.erased", by=caller, target_kind="user", target_id=caller.user_id)
        await erasure.erase(
            session,
            caller.user_id,
            email=f"erased-{caller.user_id}@{DOMAIN}",
            full_name=NAME,
            password_hash=passwords.unusable,
        )
        await idempotency.forget(session, caller.subject)
