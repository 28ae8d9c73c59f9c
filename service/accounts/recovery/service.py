"""Password reset, and the verification and change of an e-mail address, by tokens in emails.

A worker finds out whether there is an account and whether the email is sent (accounts/emails.py): the
request is answered before, so that neither its response nor its time depends on that.
"""

import hashlib
from typing import Any, Final

from pydantic import MISSING

from service import audit
from service.accounts.errors import EmailTaken, WrongPassword
from service.accounts.recovery import repository as tokens
from service.accounts.recovery.schemas import Confirmation, Reset
from service.accounts.users import repository as users
from service.accounts.users.schemas import ProfilePatch
from service.errors import FieldFault, Unprocessable
from service.identity import Caller, Passwords, end_sessions, reauthorize
from service.platform.crypto import fingerprint, same
from service.platform.database import Database, Record, Session
from service.platform.mail import AddressCipher
from service.platform.mail import repository as mails

_TAKEN: Final = "Another account has this e-mail address. Use a different one."


def account_state(account: Any, purpose: str) -> bytes:
    """A digest of what a token of this purpose changes, at the time of the email. If that has changed since,
    the token is void: using one token voids the others of its kind.

    A change of the password does not void the verification of an address, which it does not touch.
    """
    changing = str(account.email_verified) if purpose == "verify_email" else account.password_hash
    return hashlib.sha256(f"{purpose}\0{account.id}\0{account.email}\0{changing}".encode()).digest()


async def request_reset(session: Session, addresses: AddressCipher, email: str) -> None:
    await mails.enqueue(session, "reset_password", address=addresses.encrypt(email.encode()))


async def request_verification(session: Session, caller: Caller) -> None:
    await reauthorize(session, caller, needs_role=False)
    await mails.enqueue(session, "verify_email", user_id=caller.user_id)


async def request_email_change(
    database: Database,
    passwords: Passwords,
    addresses: AddressCipher,
    session: Session,
    *,
    caller: Caller,
    patch: ProfilePatch,
) -> None:
    """Enqueue an email to the patch's new address. The address changes when the user confirms it.

    Reads and hashes outside of `session`, which must not have begun. If password or address have changed
    by the time the email is composed, it is not sent.

    Raises:
        WrongPassword, or Unprocessable if the current password is missing.
        EmailTaken: there is an account with the new address.
    """
    if "email" not in patch.model_fields_set:
        return
    email = str(patch.email)
    async with database.reading() as reader:
        account = await tokens.get_account(reader, caller.user_id)
        other = await tokens.get_account_by_email(reader, email)
    if account is None or account.email == email:
        return
    if patch.current_password is MISSING:
        raise _refused(
            "/current_password",
            "Required to change the e-mail address: send the current password.",
            "missing",
        )
    if not await passwords.verify(account.password_hash, patch.current_password.get_secret_value()):
        raise WrongPassword
    if other is not None and other.id != account.id:
        raise EmailTaken(_TAKEN)
    facts = {"account_state": account_state(account, "change_email").hex()}
    address = addresses.encrypt(email.encode())
    await mails.enqueue(session, "change_email", user_id=account.id, address=address, facts=facts)


async def confirm_reset(database: Database, passwords: Passwords, reset: Reset) -> None:
    """Set the new password and end every session. Hashes in no transaction, and for good tokens only."""
    digest = fingerprint(reset.token.get_secret_value())
    async with database.reading() as reader:
        if await tokens.get_owner(reader, digest, ("reset_password",)) is None:
            raise _bad_token()
    fresh = await passwords.hash(reset.new_password.get_secret_value())
    async with database.transaction() as session:
        _, account = await _use(session, digest, "reset_password")
        await users.change(session, account.id, {"password_hash": fresh, "email_verified": True})
        await end_sessions(session, account.id)
        await _note(session, "password.reset", account.id)
        if not account.email_verified:
            await _note(session, "email.verified", account.id)
        await mails.enqueue(session, "password_reset", user_id=account.id)


async def confirm_address(
    session: Session, addresses: AddressCipher, caller: Caller | None, sent: Confirmation
) -> None:
    """Verify the address that the token was sent to; where it is a new one, it becomes the account's."""
    digest = fingerprint(sent.token.get_secret_value())
    token, account = await _use(session, digest, "verify_email", "change_email", caller=caller)
    if token.purpose == "verify_email":
        await users.change(session, account.id, {"email_verified": True})
        await _note(session, "email.verified", account.id)
        return
    if not await tokens.change_email(session, account.id, token.email):
        raise EmailTaken(_TAKEN)
    own = caller is not None and caller.user_id == account.id
    await end_sessions(session, account.id, but=caller.session_id if caller and own else None)
    await _note(session, "email.changed", account.id)
    was = addresses.encrypt(account.email.encode())
    await mails.enqueue(session, "email_changed", user_id=account.id, address=was)


async def _use(
    session: Session, digest: bytes, *purposes: str, caller: Caller | None = None
) -> tuple[Record, Record]:
    """The token, used up, and its account, locked. Raises Unprocessable for any token that is not good."""
    owner = await tokens.get_owner(session, digest, purposes)
    # The account first, as in every transaction: erasing it deletes its tokens under its lock.
    account = await tokens.get_account(session, owner, lock=True) if owner is not None else None
    await reauthorize(session, caller, needs_role=False)
    token = await tokens.use_token(session, digest, purposes)
    if token is None or account is None or not account.is_active:
        raise _bad_token()
    if not same(token.account_state, account_state(account, token.purpose)):
        raise _bad_token()
    return token, account


async def _note(session: Session, action: str, user_id: int) -> None:
    await audit.record(session, action, actor_id=user_id, target_kind="user", target_id=user_id)


def _bad_token() -> Unprocessable:
    detail = "This token is unknown, used, expired or no longer valid. Request another email."
    return _refused("/token", detail, "invalid_token")


def _refused(pointer: str, detail: str, code: str) -> Unprocessable:
    return Unprocessable(detail, errors=(FieldFault(pointer, detail, code),))
