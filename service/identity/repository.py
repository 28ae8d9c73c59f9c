"""Every statement on sessions and their refresh tokens."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import bindparam, func, select, update

from service.identity.models import Session as SessionRow
from service.identity.models import User
from service.platform.database import Record, Session

_CALLER = (
    select(User.is_admin)
    .join(SessionRow, SessionRow.user_id == User.id)
    .where(
        SessionRow.id == bindparam("session_id"),
        SessionRow.ended_at.is_(None),
        User.id == bindparam("user_id"),
        User.is_active,
    )
)
_LOCKED_CALLER = _CALLER.with_for_update(read=True, of=[User, SessionRow])


async def get_caller(session: Session, *, user_id: int, session_id: int, lock: bool = False) -> Record | None:
    """`is_admin` of the active user whose session has not ended.

    With `lock` both rows stay as they are until the transaction ends.
    """
    statement, values = _LOCKED_CALLER if lock else _CALLER, {"user_id": user_id, "session_id": session_id}
    return await session.one(statement, values)


async def lock_user(session: Session, user_id: int) -> Record | None:
    """`is_active`, `is_admin` and `version`, which stay so until the transaction ends; None if erased."""
    statement = select(User.is_active, User.is_admin, User.version).where(
        User.id == user_id, User.erased_at.is_(None)
    )
    return await session.one(statement.with_for_update(key_share=True))


async def end_session(session: Session, session_id: int, *, user_id: int | None = None) -> int | None:
    """Whose it was; None when it has ended before, or is not this user's."""
    statement = update(SessionRow).where(SessionRow.id == session_id, SessionRow.ended_at.is_(None))
    if user_id is not None:
        statement = statement.where(SessionRow.user_id == user_id)
    owner_id: int | None = await session.value(
        statement.values(ended_at=func.now()).returning(SessionRow.user_id)
    )
    return owner_id


async def end_sessions(session: Session, user_id: int, *, but: int | None = None) -> Sequence[int]:
    """The ids of those that have ended by this."""
    statement = update(SessionRow).where(SessionRow.user_id == user_id, SessionRow.ended_at.is_(None))
    if but is not None:
        statement = statement.where(SessionRow.id != but)
    return await session.values(statement.values(ended_at=func.now()).returning(SessionRow.id))


async def get_access_changes(session: Session, seconds: float) -> Sequence[Record]:
    """Id, is_active and is_admin of the users whose access has changed within so many seconds."""
    recent = User.access_changed_at > func.now() - timedelta(seconds=seconds)
    return await session.rows(select(User.id, User.is_active, User.is_admin).where(recent))


async def get_ended_sessions(session: Session, seconds: float) -> Sequence[int]:
    """The ids of the sessions that have ended within so many seconds."""
    recent = SessionRow.ended_at > func.now() - timedelta(seconds=seconds)
    return await session.values(select(SessionRow.id).where(recent))
