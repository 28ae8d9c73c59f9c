"""Every statement on the tokens of emails, and on the accounts that they are for."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from asyncpg import UniqueViolationError
from sqlalchemy import ColumnElement, Select, delete, func, insert, or_, select, update

from service.accounts.users.repository import has_address
from service.identity.models import MailToken, User
from service.platform.database import Record, Session, any_of
from service.platform.mail.models import Mail

_account = select(
    User.id,
    User.email,
    User.password_hash,
    User.email_verified,
    User.is_active,
    User.erased_at.is_not(None).label("erased"),
)


async def get_account(session: Session, user_id: int, *, lock: bool = False) -> Record | None:
    """With `lock` it stays as it is until the transaction ends."""
    return await _first(session, _account.where(User.id == user_id), lock=lock)


async def get_account_by_email(session: Session, email: str, *, lock: bool = False) -> Record | None:
    """The account with this address, in any spelling."""
    return await _first(session, has_address(_account, email), lock=lock)


async def _first(session: Session, found: Select[*tuple[Any, ...]], *, lock: bool) -> Record | None:
    locked = found.with_for_update(key_share=True) if lock else found
    return await session.one(locked)


async def get_recent_mail(
    session: Session, *, user_id: int, purpose: str, email: str, window: timedelta, but: int
) -> str | None:
    """`sent` if this account has had another email of this purpose at this address within the window,
    `sending` if one is being sent now, else None.

    Counted by account: a user must not use up the emails of another account with the same mailbox. An email
    that has failed does not count, and one that is tried again counts once. The account must be locked.
    """
    leaving = (Mail.status == "sending") & (Mail.claimed_until > func.now())
    statement = (
        select(Mail.status)
        .join(MailToken, MailToken.mail_id == Mail.id)
        .where(
            MailToken.user_id == user_id,
            MailToken.purpose == purpose,
            func.lower(MailToken.email) == func.lower(email),
            MailToken.created_at > func.now() - window,
            Mail.id != but,
            or_(Mail.status == "sent", leaving),
        )
        .order_by(Mail.status.desc())
        .limit(1)
    )
    status: str | None = await session.value(statement)
    return status


async def add_token(
    session: Session,
    *,
    hash: bytes,  # noqa: A002 - the column's name
    user_id: int,
    purpose: str,
    email: str,
    account_state: bytes,
    mail_id: int,
    lifetime: timedelta,
) -> None:
    """An email that is tried again gets another token. Those of its earlier tries stay good, for one of them
    may have arrived; those of other emails too: a stranger's request must not void the token of the owner.
    """
    values: dict[str, Any] = {"user_id": user_id, "purpose": purpose, "email": email, "mail_id": mail_id}
    values |= {"hash": hash, "account_state": account_state, "expires_at": func.now() + lifetime}
    await session.execute(insert(MailToken).values(**values))


def _good(hash: bytes, purposes: Collection[str]) -> ColumnElement[bool]:  # noqa: A002
    return (
        (MailToken.hash == hash)
        & any_of(MailToken.purpose, purposes)
        & MailToken.used_at.is_(None)
        & (MailToken.expires_at > func.now())
    )


async def get_owner(session: Session, hash: bytes, purposes: Collection[str]) -> int | None:  # noqa: A002
    """The user whose token it is; None for a bad one."""
    owner: int | None = await session.value(select(MailToken.user_id).where(_good(hash, purposes)))
    return owner


async def use_token(session: Session, hash: bytes, purposes: Collection[str]) -> Record | None:  # noqa: A002
    """Purpose, address and account state of the token, which is used up; None for a bad one."""
    used = update(MailToken).where(_good(hash, purposes)).values(used_at=func.clock_timestamp())
    columns = (MailToken.purpose, MailToken.email, MailToken.account_state)
    return await session.one(used.returning(*columns))


async def change_email(session: Session, user_id: int, email: str) -> bool:
    """Whether the address was free. It is verified: its owner has answered from there."""
    values = {"email": email, "email_verified": True, "version": User.version + 1}
    try:
        async with session.savepoint():
            await session.execute(update(User).where(User.id == user_id).values(**values))
    except UniqueViolationError:
        return False
    return True


async def purge(session: Session, kept: timedelta, *, most: int) -> int:
    """Delete at most so many tokens that were made so long ago; how many that were.

    `kept` must be longer than a token is valid, and than the time for which emails are counted.
    """
    old = select(MailToken.hash).where(MailToken.expires_at < func.now() - kept).limit(most)
    return await session.execute(delete(MailToken).where(MailToken.hash.in_(old)))
