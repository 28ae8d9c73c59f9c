"""Every statement on notifications.

They are written last in their transaction, by one statement and in the order of the users who get them:
each user's ids are committed in their order, for which a trigger takes a lock for each user
(migrations/versions/20261122_stream.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import ARRAY, BigInteger, BindParameter, Integer, Text, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from service.notifications.models import Notification
from service.platform.database import Record, Session, before_commit
from service.platform.database.pagination import Conditions, Page, PagedSelect

_WAITING: Final = "notifications"
_PARAMETERS: Final[tuple[BindParameter[Any], ...]] = (
    bindparam("notification_user_ids", type_=ARRAY(BigInteger)),
    *(bindparam(f"notification_{name}", type_=ARRAY(Text)) for name in ("kinds", "titles", "bodies")),
    bindparam("notification_data", type_=ARRAY(JSONB)),
)
_ADDED: Final = text("""
    INSERT INTO notifications (user_id, kind, title, body, data)
    SELECT coalesce(new.user_id, users.id), new.kind, new.title, new.body, new.data
    FROM unnest(:notification_user_ids, :notification_kinds, :notification_titles, :notification_bodies,
                :notification_data) WITH ORDINALITY AS new (user_id, kind, title, body, data, place)
    LEFT JOIN users ON new.user_id IS NULL AND users.is_admin AND users.is_active
    WHERE new.user_id IS NOT NULL OR users.id IS NOT NULL
    ORDER BY 1, new.place
""").bindparams(*_PARAMETERS)
#: Each to the user named, or to every administrator where none is; by user, then in the order given.
#: Domains above write them in one statement with what they tell of, if that is the last but for the COMMIT
#: to wait for a lock.
NOTIFICATIONS: Final = (_ADDED.columns().cte("notified"),)
#: The same for exactly one, to a user: neither are administrators looked for, nor is anything sorted.
NOTIFICATION: Final = (
    text("""
        INSERT INTO notifications (user_id, kind, title, body, data)
        SELECT (:notification_user_ids)[1], (:notification_kinds)[1], (:notification_titles)[1],
            (:notification_bodies)[1], (:notification_data)[1]
    """)
    .bindparams(*_PARAMETERS)
    .columns()
    .cte("notified"),
)


@dataclass(frozen=True, slots=True)
class NewNotification:
    """Without a user it is for every active administrator."""

    user_id: int | None
    kind: str
    title: str
    body: str
    data: Mapping[str, Any]


_OWN: Final = Notification.user_id == bindparam("user_id")
_ALL: Final = select(*Notification.__table__.columns)
_LIST: Final = PagedSelect(
    _ALL,
    Notification.id,
    falling=True,
    filters=Conditions({"user_id": _OWN, "unread": Notification.read_at.is_(None)}),
)
_AFTER: Final = (
    _ALL.where(_OWN, Notification.id > bindparam("last"))
    .order_by(Notification.id)
    .limit(bindparam("count", type_=Integer))
)


async def notify(
    session: Session, user_id: int, *, kind: str, title: str, body: str, data: dict[str, Any]
) -> None:
    """Notify a user, if the session's transaction is committed."""
    await add(session, NewNotification(user_id, kind, title, body, data))


async def notify_administrators(
    session: Session, *, kind: str, title: str, body: str, data: dict[str, Any]
) -> None:
    """Notify every active administrator, if the session's transaction is committed."""
    await add(session, NewNotification(None, kind, title, body, data))


async def add(session: Session, new: NewNotification) -> None:
    """Written before the COMMIT; inside a savepoint at once, which may be rolled back alone."""
    if session.in_savepoint:
        await session.execute(_ADDED, to_notify([new]))
        return
    waiting = session.info.get(_WAITING)
    if waiting is None:
        waiting = session.info[_WAITING] = []
        before_commit(session, partial(_write, session))
    waiting.append(new)


async def _write(session: Session) -> None:
    await session.execute(_ADDED, to_notify(session.info.pop(_WAITING)))


def to_notify(new: Sequence[NewNotification]) -> Mapping[str, Any]:
    """The parameters of NOTIFICATIONS."""
    return {
        "notification_user_ids": [each.user_id for each in new],
        "notification_kinds": [each.kind for each in new],
        "notification_titles": [each.title for each in new],
        "notification_bodies": [each.body for each in new],
        "notification_data": [each.data for each in new],
    }


async def find(session: Session, user_id: int, page: Page, *, unread: bool = False) -> list[Any]:
    """The user's notifications, newest first."""
    return await _LIST.read(session, page, {"user_id": user_id, "unread": unread or None})


async def find_after(session: Session, user_id: int, last: int, count: int) -> Sequence[Record]:
    """The user's notifications after that one, oldest first."""
    return await session.rows(_AFTER, {"user_id": user_id, "last": last, "count": count})


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
