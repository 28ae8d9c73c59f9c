"""Every statement on the tokens of mails, and on the accounts that they are for."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.database import Record, Session
from service.models.auth import MailToken
from service.models.users import User

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
    return await _one(session, User.id == user_id, lock=lock)


async def get_account_by_email(session: Session, email: str, *, lock: bool = False) -> Record | None:
    """The account with this address, in any case."""
    return await _one(session, func.lower(User.email) == func.lower(email), lock=lock)


async def _one(session: Session, condition: ColumnElement[bool], *, lock: bool) -> Record | None:
    found = _account.where(condition)
    locked = found.with_for_update(key_share=True) if lock else found
    return (await session.execute(locked)).one_or_none()


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
    window: timedelta,
    most: int,
) -> bool:
    """Whether it was added: a mailbox gets at most so many mails of one purpose within the window.

    Who writes to the same mailbox at the same time waits here, or both would find room for one more. A
    mail that is tried again gets another token and counts once; those of its earlier tries stay good, for
    one of them may have arrived.
    """
    mailbox = func.lower(email)
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(mailbox, 0))))
    sent = select(func.count(func.distinct(MailToken.mail_id))).where(
        func.lower(MailToken.email) == mailbox,
        MailToken.purpose == purpose,
        MailToken.created_at > func.now() - window,
        MailToken.mail_id != mail_id,
    )
    if (await session.scalar(sent) or 0) >= most:
        return False
    values: dict[str, Any] = {"user_id": user_id, "purpose": purpose, "email": email, "mail_id": mail_id}
    values |= {"hash": hash, "account_state": account_state, "expires_at": func.now() + lifetime}
    await session.execute(insert(MailToken).values(**values))
    # Nothing asks for those any more.
    old = delete(MailToken).where(MailToken.user_id == user_id, MailToken.created_at < func.now() - window)
    await session.execute(old)
    return True


def _good(hash: bytes, purposes: Collection[str]) -> ColumnElement[bool]:  # noqa: A002
    return (
        (MailToken.hash == hash)
        & MailToken.purpose.in_(purposes)
        & MailToken.used_at.is_(None)
        & (MailToken.expires_at > func.now())
    )


async def get_owner(session: Session, hash: bytes, purposes: Collection[str]) -> int | None:  # noqa: A002
    """Whose token it is; None for a bad one."""
    owner: int | None = await session.scalar(select(MailToken.user_id).where(_good(hash, purposes)))
    return owner


async def use_token(session: Session, hash: bytes, purposes: Collection[str]) -> Record | None:  # noqa: A002
    """Purpose, address and account state of the token, which is used up; None for a bad one."""
    used = update(MailToken).where(_good(hash, purposes)).values(used_at=func.clock_timestamp())
    columns = (MailToken.purpose, MailToken.email, MailToken.account_state)
    return (await session.execute(used.returning(*columns))).one_or_none()


async def change_email(session: Session, user_id: int, email: str) -> bool:
    """Whether the address was free. It is verified: its owner has answered from there."""
    values = {"email": email, "email_verified": True, "version": User.version + 1}
    try:
        async with session.begin_nested():
            await session.execute(update(User).where(User.id == user_id).values(**values))
    except IntegrityError:
        return False
    return True


async def purge(session: Session, *, kept: timedelta, most: int) -> int:
    """Delete at most so many tokens that were made so long ago; how many that were.

    `kept` must be longer than a token is valid, and than the time for which a mailbox's mails are counted.
    """
    old = select(MailToken.hash).where(MailToken.expires_at < func.now() - kept).limit(most)
    gone = delete(MailToken).where(MailToken.hash.in_(old)).returning(MailToken.hash)
    return len((await session.scalars(gone)).all())
