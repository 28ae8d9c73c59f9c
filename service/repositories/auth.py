"""Every statement on sessions."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import func, insert, literal, select, update

from service.database import Record, Session
from service.models.auth import Session as SessionRow
from service.models.users import User


async def start_session(
    session: Session, user_id: int, *, password_hash: str, client: str | None
) -> int | None:
    """The new session's id; None when the account was deactivated or its password changed meanwhile."""
    still_good = select(User.id, literal(client)).where(
        User.id == user_id, User.is_active, User.password_hash == password_hash
    )
    statement = insert(SessionRow).from_select(["user_id", "client"], still_good).returning(SessionRow.id)
    session_id: int | None = await session.scalar(statement)
    return session_id


async def get_caller(session: Session, *, user_id: int, session_id: int) -> Record | None:
    """`is_admin` of the active user whose session has not ended."""
    statement = (
        select(User.is_admin)
        .join(SessionRow, SessionRow.user_id == User.id)
        .where(SessionRow.id == session_id, SessionRow.ended_at.is_(None), User.id == user_id, User.is_active)
    )
    return (await session.execute(statement)).one_or_none()


async def end_sessions(session: Session, user_id: int, *, but: int | None = None) -> None:
    statement = update(SessionRow).where(SessionRow.user_id == user_id, SessionRow.ended_at.is_(None))
    if but is not None:
        statement = statement.where(SessionRow.id != but)
    await session.execute(statement.values(ended_at=func.now()))


async def get_access_changes(session: Session, seconds: float) -> Sequence[Record]:
    """Id, is_active and is_admin of the users whose access has changed within so many seconds."""
    recent = User.access_changed_at > func.now() - timedelta(seconds=seconds)
    return (await session.execute(select(User.id, User.is_active, User.is_admin).where(recent))).all()


async def get_ended_sessions(session: Session, seconds: float) -> Sequence[int]:
    """The ids of the sessions that have ended within so many seconds."""
    recent = SessionRow.ended_at > func.now() - timedelta(seconds=seconds)
    return (await session.scalars(select(SessionRow.id).where(recent))).all()
