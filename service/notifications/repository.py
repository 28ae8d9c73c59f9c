"""Every statement on notifications.

They are written last of all in their transaction, by one statement and in the order of the people who
are told: one person's ids are committed in their order, for which a trigger takes a lock for each person
(migrations/versions/20261122_stream.py).
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import ARRAY, BigInteger, Text, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from service.notifications.models import Notification
from service.platform.database import Record, Session, before_commit
from service.platform.database.pagination import Page

_WAITING: Final = "notifications"
_COLUMNS: Final = {"user_ids": BigInteger, "kinds": Text, "titles": Text, "bodies": Text, "data": JSONB}
#: Each to the person named, or to every administrator where nobody is; by person, then as they were told.
_ADD: Final = text("""
    INSERT INTO notifications (user_id, kind, title, body, data)
    SELECT coalesce(told.user_id, users.id), told.kind, told.title, told.body, told.data
    FROM unnest(:user_ids, :kinds, :titles, :bodies, :data)
         WITH ORDINALITY AS told (user_id, kind, title, body, data, place)
    LEFT JOIN users ON told.user_id IS NULL AND users.is_admin AND users.is_active
    WHERE told.user_id IS NOT NULL OR users.id IS NOT NULL
    ORDER BY 1, told.place
""").bindparams(*(bindparam(name, type_=ARRAY(kind)) for name, kind in _COLUMNS.items()))


async def add(
    session: Session, user_id: int, *, kind: str, title: str, body: str, data: dict[str, Any]
) -> None:
    """Tell one person, in the transaction of what is told."""
    await _tell(session, (user_id, kind, title, body, data))


async def tell_administrators(
    session: Session, *, kind: str, title: str, body: str, data: dict[str, Any]
) -> None:
    """Tell every active administrator, in the transaction of what is told."""
    await _tell(session, (None, kind, title, body, data))


async def tell_of_order(session: Session, order: Any, body: str) -> None:
    """Tell the customer of the state that the order is in now.

    `order` has id, user_id, status and total.
    """
    title = f"Order {order.id} is {order.status}"
    data = {"order_id": order.id, "status": order.status, "total": str(order.total)}
    await add(session, order.user_id, kind=f"order.{order.status}", title=title, body=body, data=data)


async def tell_low_stock(session: Session, moved: Iterable[Record]) -> None:
    """Tell every administrator of each item that has just come to its reorder level.

    `moved` is what `stock.move` answered.
    """
    for row in moved:
        if not row.fell:
            continue
        title = f"{row.name} is running low"
        body = f"{row.quantity} left, reorder level {row.reorder_level}."
        data = {"item_id": row.item_id, "sku": row.sku, "quantity": row.quantity}
        await tell_administrators(session, kind="item.low_stock", title=title, body=body, data=data)


async def _tell(session: Session, told: tuple[Any, ...]) -> None:
    """Before the COMMIT; inside a savepoint at once, for that may be rolled back alone."""
    if session.in_nested_transaction():
        await session.execute(_ADD, _parameters([told]))
        return
    waiting = session.info.get(_WAITING)
    if waiting is None:
        waiting = session.info[_WAITING] = []
        before_commit(session, partial(_write, session))
    waiting.append(told)


async def _write(session: Session) -> None:
    await session.execute(_ADD, _parameters(session.info.pop(_WAITING)))


def _parameters(told: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    return {name: list(values) for name, values in zip(_COLUMNS, zip(*told, strict=True), strict=True)}


async def find(session: Session, user_id: int, page: Page, *, unread: bool = False) -> list[Any]:
    """The user's notifications, newest first."""
    statement = select(*Notification.__table__.columns).where(Notification.user_id == user_id)
    if unread:
        statement = statement.where(Notification.read_at.is_(None))
    if page.after is not None:
        statement = statement.where(Notification.id < page.after[0])
    statement = statement.order_by(Notification.id.desc()).limit(page.fetch).offset(page.skip)
    return page.cut((await session.execute(statement)).all(), "id")


async def find_after(session: Session, user_id: int, last: int, count: int) -> Sequence[Record]:
    """The user's notifications after that one, oldest first."""
    statement = select(*Notification.__table__.columns).where(
        Notification.user_id == user_id, Notification.id > last
    )
    return (await session.execute(statement.order_by(Notification.id).limit(count))).all()


async def mark_read(session: Session, user_id: int, notification_id: int) -> Record | None:
    """The notification, read now or before; None when it is not this user's."""
    statement = (
        update(Notification)
        .where(Notification.id == notification_id, Notification.user_id == user_id)
        .values(read_at=func.coalesce(Notification.read_at, func.now()))
        .returning(*Notification.__table__.columns)
    )
    row: Record | None = (await session.execute(statement)).one_or_none()
    return row


async def exists(session: Session, user_id: int, notification_id: int) -> bool:
    statement = select(Notification.id).where(
        Notification.id == notification_id, Notification.user_id == user_id
    )
    return (await session.execute(statement)).one_or_none() is not None


async def mark_all_read(session: Session, user_id: int) -> int:
    """How many were unread."""
    statement = update(Notification).where(Notification.user_id == user_id, Notification.read_at.is_(None))
    changed = await session.execute(statement.values(read_at=func.now()).returning(Notification.id))
    return len(changed.all())
