"""What a person proves by reading a mail: that an address is theirs, or that an account is.

Whether there is an account, and whether it may be written to, is found out in the outbox: the request
is answered before, so that its answer and its time cannot tell.
"""

import hashlib
import secrets
from datetime import timedelta
from typing import Final, Literal

import structlog
from pydantic import MISSING

from service.database import Database, Record, Session
from service.errors import EmailTaken, FieldFault, Unprocessable
from service.mail import Mailer
from service.mail.letters import TOKEN_MINUTES, Letter
from service.repositories import audit, users
from service.repositories import auth as sessions
from service.repositories import recovery as tokens
from service.schemas.recovery import Confirmation, Reset
from service.schemas.users import ProfilePatch
from service.security import Caller, Passwords, fingerprint, same

log = structlog.get_logger(__name__)

LIFETIME: Final = timedelta(minutes=TOKEN_MINUTES)
#: Mails of one purpose to one mailbox.
WINDOW: Final = timedelta(hours=1)
MOST: Final = 3

_TAKEN: Final = "There is another account with this e-mail address."

Purpose = Literal["verify_email", "reset_password", "change_email"]


def ask_reset(database: Database, mail: Mailer, email: str) -> None:
    async def write() -> Letter | None:
        async with database.transaction() as session:
            account = await tokens.get_account_by_email(session, email, lock=True)
            if account is None or not account.is_active:
                return None
            # To the address as it is stored: another spelling may be another person's mailbox.
            return await _write(session, mail, account, "reset_password", account.email)

    mail.queue("reset_password", write)


def ask_verification(database: Database, mail: Mailer, user_id: int) -> None:
    async def write() -> Letter | None:
        async with database.transaction() as session:
            account = await tokens.get_account(session, user_id, lock=True)
            if account is None or not account.is_active or account.email_verified:
                return None
            return await _write(session, mail, account, "verify_email", account.email)

    mail.queue("verify_email", write)


async def ask_change(
    database: Database,
    passwords: Passwords,
    mail: Mailer,
    session: Session,
    *,
    caller: Caller,
    patch: ProfilePatch,
) -> None:
    """Write to the patch's new address once `session` is committed. Nothing changes until it is confirmed.

    Asks and hashes outside of `session`, which must not have begun.

    Raises:
        Unprocessable: the current password is missing or wrong.
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
        raise _refused("/current_password", "Field required to change the e-mail address", "missing")
    if not await passwords.verify(account.password_hash, patch.current_password.get_secret_value()):
        raise _refused("/current_password", "This is not the current password.", "wrong_password")
    if other is not None and other.id != account.id:
        raise EmailTaken(_TAKEN)

    async def write() -> Letter | None:
        async with database.transaction() as later:
            now = await tokens.get_account(later, account.id, lock=True)
            if now is None or not now.is_active or now.password_hash != account.password_hash:
                return None
            return await _write(later, mail, now, "change_email", email)

    mail.follow(session, "change_email", write)


async def confirm_reset(database: Database, passwords: Passwords, mail: Mailer, reset: Reset) -> None:
    """Set the new password and end every session. Hashes in no transaction, and for good tokens only."""
    digest = fingerprint(reset.token.get_secret_value())
    async with database.reading() as reader:
        if await tokens.get_owner(reader, digest, ("reset_password",)) is None:
            raise _bad_token()
    fresh = await passwords.hash(reset.new_password.get_secret_value())
    async with database.transaction() as session:
        _, account = await _use(session, digest, "reset_password")
        await users.change(session, account.id, {"password_hash": fresh, "email_verified": True})
        await sessions.end_sessions(session, account.id)
        await _note(session, "password.reset", account.id)
        if not account.email_verified:
            await _note(session, "email.verified", account.id)
        mail.tell(session, "password_reset", account.email)


async def confirm_address(session: Session, mail: Mailer, caller: Caller | None, sent: Confirmation) -> None:
    """Verify the address that the token was sent to; where it is a new one, it becomes the account's."""
    digest = fingerprint(sent.token.get_secret_value())
    token, account = await _use(session, digest, "verify_email", "change_email")
    if token.purpose == "verify_email":
        await users.change(session, account.id, {"email_verified": True})
        await _note(session, "email.verified", account.id)
        return
    if not await tokens.change_email(session, account.id, token.email):
        raise EmailTaken(_TAKEN)
    own = caller is not None and caller.user_id == account.id
    await sessions.end_sessions(session, account.id, but=caller.session_id if caller and own else None)
    await _note(session, "email.changed", account.id)
    mail.tell(session, "email_changed", account.email)


async def _write(
    session: Session, mail: Mailer, account: Record, purpose: Purpose, email: str
) -> Letter | None:
    token = secrets.token_urlsafe(32)
    added = await tokens.add_token(
        session,
        hash=fingerprint(token),
        user_id=account.id,
        purpose=purpose,
        email=email,
        account_state=_state(account, purpose),
        lifetime=LIFETIME,
        window=WINDOW,
        most=MOST,
    )
    if not added:
        log.warning("mail.withheld", kind=purpose, user_id=account.id, reason="too many within an hour")
        return None
    return mail.letters.write(purpose, email, token=token)


async def _use(session: Session, digest: bytes, *purposes: Purpose) -> tuple[Record, Record]:
    """The token, used up, and its account, locked. Raises Unprocessable for a bad one, whatever is bad."""
    owner = await tokens.get_owner(session, digest, purposes)
    # The account first, as everybody does: erasing it deletes its tokens under its lock.
    account = await tokens.get_account(session, owner, lock=True) if owner is not None else None
    token = await tokens.use_token(session, digest, purposes)
    if token is None or account is None or not account.is_active:
        raise _bad_token()
    if not same(token.account_state, _state(account, token.purpose)):
        raise _bad_token()
    return token, account


def _state(account: Record, purpose: Purpose) -> bytes:
    """What must not have changed while the mail was under way: a token is void once it has.

    Each depends on what using it changes, so that using one voids the others of its kind. A change of
    the password does not void the verification of an address, which it does not touch.
    """
    moving = str(account.email_verified) if purpose == "verify_email" else account.password_hash
    return hashlib.sha256(f"{purpose}\0{account.id}\0{account.email}\0{moving}".encode()).digest()


async def _note(session: Session, action: str, user_id: int) -> None:
    await audit.add(session, action, actor_id=user_id, target_kind="user", target_id=user_id)


def _bad_token() -> Unprocessable:
    detail = "This token is unknown, used, expired or void. Ask for another mail."
    return _refused("/token", detail, "invalid_token")


def _refused(pointer: str, detail: str, code: str) -> Unprocessable:
    return Unprocessable(detail, errors=(FieldFault(pointer, detail, code),))
