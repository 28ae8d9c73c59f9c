"""Every statement on tickets, and the queries for all subscribers of a process at once."""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import ARRAY, BigInteger, bindparam, column, delete, func, insert, select

from service.identity.models import Session as SessionRow
from service.identity.models import User
from service.notifications.models import Notification
from service.notifications.streams.models import StreamTicket
from service.platform.database import Record, Session


async def add_ticket(
    session: Session, session_id: int, ticket_hash: bytes, *, lasts: timedelta, token_lasts: timedelta
) -> None:
    values = {"hash": ticket_hash, "session_id": session_id}
    moments = {"expires_at": func.now() + lasts, "token_ends_at": func.now() + token_lasts}
    await session.execute(insert(StreamTicket).values(**values, **moments))


async def use_ticket(session: Session, ticket_hash: bytes) -> Record | None:
    """Delete a ticket; its user_id, session_id, is_admin, and the seconds that its token still lasts.

    None for a ticket that is unknown, used or expired, or whose session or account has ended.
    """
    seconds = func.extract("epoch", StreamTicket.token_ends_at - func.now())
    statement = (
        delete(StreamTicket)
        .where(StreamTicket.hash == ticket_hash, StreamTicket.expires_at > func.now())
        .where(SessionRow.id == StreamTicket.session_id, SessionRow.ended_at.is_(None))
        .where(User.id == SessionRow.user_id, User.is_active)
        .returning(User.id.label("user_id"), User.is_admin, StreamTicket.session_id, seconds.label("seconds"))
    )
    return await session.one(statement)


async def purge_tickets(session: Session, kept: timedelta, *, most: int) -> int:
    """Delete at most so many that expired longer ago than that; how many they were."""
    expired = select(StreamTicket.hash).where(StreamTicket.expires_at < func.now() - kept).limit(most)
    return await session.execute(delete(StreamTicket).where(StreamTicket.hash.in_(expired)))


async def get_valid_sessions(session: Session, session_ids: Collection[int]) -> set[int]:
    """The sessions that have not ended, and whose users are active."""
    wanted = bindparam("session_ids", list(session_ids), type_=ARRAY(BigInteger))
    statement = (
        select(SessionRow.id)
        .join(User, User.id == SessionRow.user_id)
        .where(SessionRow.id == func.any(wanted), SessionRow.ended_at.is_(None), User.is_active)
    )
    return set(await session.values(statement))


async def get_newest_ids(session: Session, user_ids: Collection[int]) -> dict[int, int]:
    """The id of each user's newest notification; users without any are left out."""
    wanted = func.unnest(bindparam("user_ids", list(user_ids), type_=ARRAY(BigInteger)))
    users = wanted.table_valued(column("id", BigInteger), name="wanted").render_derived()
    newest = select(func.max(Notification.id)).where(Notification.user_id == users.c.id).scalar_subquery()
    rows = await session.rows(select(users.c.id, newest.label("newest")))
    return {row.id: row.newest for row in rows if row.newest is not None}
