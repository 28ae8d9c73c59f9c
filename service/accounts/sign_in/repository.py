"""Every statement of signing in: credentials, sessions and their refresh tokens."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from service.accounts.users.repository import has_address
from service.identity.models import RefreshToken, User
from service.identity.models import Session as SessionRow
from service.platform.database import Record, Session, any_of
from service.platform.database.pagination import Page

#: How long a refresh token that has been used still yields the newest of its chain: for a lost answer, or
#: two tabs.
REFRESH_GRACE: Final = timedelta(seconds=20)
SESSION_IDLE: Final = timedelta(days=14)
SESSION_LONGEST: Final = timedelta(days=90)


async def get_credentials(session: Session, email: str) -> Record | None:
    """Id, password hash, `is_active` and `is_admin` of the account with this address, in any spelling."""
    statement = select(User.id, User.password_hash, User.is_active, User.is_admin)
    return await session.one(has_address(statement, email))


def _live() -> ColumnElement[bool]:
    return and_(
        SessionRow.ended_at.is_(None),
        SessionRow.last_used_at > func.now() - SESSION_IDLE,
        SessionRow.created_at > func.now() - SESSION_LONGEST,
    )


async def start_session(
    session: Session, user_id: int, *, password_hash: str, client: str | None
) -> int | None:
    """The new session's id; None when the account was deactivated or its password changed meanwhile.

    The row is locked against changes: one that is under way ends the sessions it can see, and must
    not miss this one.
    """
    still_good = (
        select(User.id, literal(client))
        .where(User.id == user_id, User.is_active, User.password_hash == password_hash)
        .with_for_update(read=True)
    )
    statement = insert(SessionRow).from_select(["user_id", "client"], still_good).returning(SessionRow.id)
    session_id: int | None = await session.value(statement)
    return session_id


async def use_refresh_token(session: Session, token_hash: bytes) -> Record | None:
    """Rotate the token, if its session is live and its user active; locks the session.

    `is_fresh` when this is its first use, `is_reused` when the first was longer ago than the grace.
    Session before token, and both before anything is decided: a request that uses any token of the
    session at the same moment waits, and then decides by what this transaction leaves behind.
    """
    locked = (
        select(
            RefreshToken.hash,
            RefreshToken.rotated_at,
            SessionRow.id.label("session_id"),
            User.id.label("user_id"),
            User.is_admin,
        )
        .join(SessionRow, SessionRow.id == RefreshToken.session_id)
        .join(User, User.id == SessionRow.user_id)
        .where(RefreshToken.hash == token_hash, User.is_active, _live())
        .with_for_update(key_share=True, of=[SessionRow, RefreshToken])
        .cte("locked")
    )
    statement = (
        update(RefreshToken)
        .where(RefreshToken.hash == locked.c.hash)
        .values(rotated_at=func.coalesce(RefreshToken.rotated_at, func.now()))
        .returning(
            locked.c.session_id,
            locked.c.user_id,
            locked.c.is_admin,
            locked.c.rotated_at.is_(None).label("is_fresh"),
            func.coalesce(locked.c.rotated_at <= func.now() - REFRESH_GRACE, False).label("is_reused"),
        )
    )
    return await session.one(statement)


async def get_known_token(session: Session, session_id: int, hashes: Sequence[bytes]) -> Record | None:
    """Hash and `is_rotated` of the token of this session that has one of the hashes."""
    statement = select(RefreshToken.hash, RefreshToken.rotated_at.is_not(None).label("is_rotated")).where(
        RefreshToken.session_id == session_id, any_of(RefreshToken.hash, hashes)
    )
    return await session.one(statement)


async def add_refresh_token(session: Session, session_id: int, token_hash: bytes) -> None:
    statement = upsert(RefreshToken).values(hash=token_hash, session_id=session_id)
    await session.execute(statement.on_conflict_do_nothing())


async def touch_session(session: Session, session_id: int) -> None:
    statement = update(SessionRow).where(SessionRow.id == session_id)
    await session.execute(statement.values(last_used_at=func.now()))


async def get_session_of_token(session: Session, token_hash: bytes) -> int | None:
    """The session that this refresh token is or was one of."""
    statement = select(RefreshToken.session_id).where(RefreshToken.hash == token_hash)
    session_id: int | None = await session.value(statement)
    return session_id


async def find(session: Session, user_id: int, page: Page, *, current: int) -> list[Any]:
    """The user's live sessions, newest first; `current` is the one that asks."""
    statement = select(
        SessionRow.id,
        SessionRow.created_at,
        SessionRow.last_used_at,
        SessionRow.client,
        (SessionRow.id == current).label("current"),
    ).where(SessionRow.user_id == user_id, _live())
    if page.after is not None:
        statement = statement.where(SessionRow.id < page.after[0])
    statement = statement.order_by(SessionRow.id.desc()).limit(page.fetch).offset(page.skip)
    return page.cut(await session.rows(statement), "id")


async def purge(session: Session, kept: timedelta, *, most: int) -> int:
    """Delete at most so many sessions that have been over for so long, with their tokens; how many they were.

    `kept` must be longer than an access token lasts: those of a session that ended have to be refused.
    """
    old = or_(
        SessionRow.ended_at < func.now() - kept,
        SessionRow.last_used_at < func.now() - SESSION_IDLE - kept,
        SessionRow.created_at < func.now() - SESSION_LONGEST - kept,
    )
    found = select(SessionRow.id).where(old).limit(most)
    return await session.execute(delete(SessionRow).where(SessionRow.id.in_(found)))
