"""Every statement on notifications.

They are written last in their transaction, by one statement and in the order of the users who get them:
each user's ids are committed in their order, for which a trigger takes a lock for each user
(migrations/versions/20261122_stream.py).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import ARRAY, BigInteger, Text, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from service.notifications.models import Notification
from service.platform.database import Record, Session, before_commit
from service.platform.database.pagination import Page

_WAITING: Final = "notifications"
_COLUMNS: Final = {"user_ids": BigInteger, "kinds": Text, "titles": Text, "bodies": Text, "data": JSONB}
#: Each to the user named, or to every administrator where none is; by user, then in the order of the calls.
_ADD: Final = text("""
    INSERT INTO notifications (user_id, kind, title, body, data)
    SELECT coalesce(new.user_id, users.id), new.kind, new.title, new.body, new.data
    FROM unnest(:user_ids, :kinds, :titles, :bodies, :data)
         WITH ORDINALITY AS new (user_id, kind, title, body, data, place)
    LEFT JOIN users ON new.user_id IS NULL AND users.is_admin AND users.is_active
    WHERE new.user_id IS NOT NULL OR users.id IS NOT NULL
    ORDER BY 1, new.place
""").bindparams(*(bindparam(name, type_=ARRAY(kind)) for name, kind in _COLUMNS.items()))


async def notify(
    session: Session, user_id: int, *, kind: str, title: str, body: str, data: dict[str, Any]
) -> None:
    """Notify a user, if the session's transaction is committed."""
    await _add(session, (user_id, kind, title, body, data))


async def notify_administrators(
    session: Session, *, kind: str, title: str, body: str, data: dict[str, Any]
) -> None:
    """Notify every active administrator, if the session's transaction is committed."""
    await _add(session, (None, kind, title, body, data))


async def _add(session: Session, new: tuple[int | None, str, str, str, dict[str, Any]]) -> None:
    """Written before the COMMIT; inside a savepoint at once, which may be rolled back alone."""
    if session.in_savepoint:
        await session.execute(_ADD, _parameters([new]))
        return
    waiting = session.info.get(_WAITING)
    if waiting is None:
        waiting = session.info[_WAITING] = []
        before_commit(session, partial(_write, session))
    waiting.append(new)


async def _write(session: Session) -> None:
    await session.execute(_ADD, _parameters(session.info.pop(_WAITING)))


def _parameters(new: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    return {name: list(values) for name, values in zip(_COLUMNS, zip(*new, strict=True), strict=True)}


async def find(session: Session, user_id: int, page: Page, *, unread: bool = False) -> list[Any]:
    """The user's notifications, newest first."""
    statement = select(*Notification.__table__.columns).where(Notification.user_id == user_id)
    if unread:
        statement = statement.where(Notification.read_at.is_(None))
    if page.after is not None:
        statement = statement.where(Notification.id < page.after[0])
    statement = statement.order_by(Notification.id.desc()).limit(page.fetch).offset(page.skip)
    return page.cut(await session.rows(statement), "id")


async def find_after(session: Session, user_id: int, last: int, count: int) -> Sequence[Record]:
    """The user's notifications after that one, oldest first."""
    statement = select(*Notification.__table__.columns).where(
        Notification.user_id == user_id, Notification.id > last
    )
    return await session.rows(statement.order_by(Notification.id).limit(count))


async def mark_read(session: Session, user_id: int, notification_id: int) -> Record | None:
    """The notification, read now or before; None when it is not this user's."""
    statement = (
        update(Notification)
        .where(Notification.id == notification_id, Notification.user_id == user_id)
        .values(read_at=func.coalesce(Notification.read_at, func.now()))
        .returning(*Notification.__table__.columns)
    )
    return await session.one(statement)


async def exists(session: Session, user_id: int, notification_id: int) -> bool:
    statement = select(Notification.id).where(
        Notification.id == notification_id, Notification.user_id == user_id
    )
    return await session.one(statement) is not None


async def mark_all_read(session: Session, user_id: int) -> int:
    """The number of notifications that were unread before."""
    statement = update(Notification).where(Notification.user_id == user_id, Notification.read_at.is_(None))
    return await session.execute(statement.values(read_at=func.now()))
