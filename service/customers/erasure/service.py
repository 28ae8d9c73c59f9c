"""Deleting one's account: the person goes, the orders stay."""

from typing import Final

from service import accounts, audit
from service.customers.erasure import repository as erasure
from service.customers.erasure.schemas import AccountDeletion
from service.errors import FieldFault, InvalidToken, LastAdministrator, Unprocessable
from service.identity import Caller, reauthorize
from service.identity.passwords import Passwords
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
    """Hashing happens outside any transaction; under the lock the hash is compared once more.

    Unpaid orders are left alone: nobody will pay them.

    Raises:
        Unprocessable: it is not the password.
        LastAdministrator: somebody else has to become one first.
    """
    async with database.reading() as session:
        stored = await accounts.get_password_hash(session, caller.user_id)
    if stored is None or not await passwords.verify(stored, deletion.current_password.get_secret_value()):
        raise _wrong_password()
    async with database.transaction() as session:
        # First, and in the order in which everybody locks them.
        administrators = await accounts.lock_administrators(session)
        account = await erasure.lock(session, caller.user_id)
        await reauthorize(session, caller, needs_role=False)
        if account is None:
            raise InvalidToken
        if account.password_hash != stored:
            raise _wrong_password()
        require(expected, account)
        if list(administrators) == [caller.user_id]:
            raise LastAdministrator("This is the last active administrator. Make another one first.")
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


def _wrong_password() -> Unprocessable:
    refusal = FieldFault("/current_password", "This is not the current password.", "wrong_password")
    return Unprocessable(refusal.detail, errors=(refusal,))
