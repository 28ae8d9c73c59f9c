"""Every statement on notifications."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB

from service.database import Record, Session
from service.models.notifications import Notification
from service.models.users import User
from service.pagination import Page


async def add(
    session: Session, user_id: int, *, kind: str, title: str, body: str, data: dict[str, Any]
) -> None:
    """Tell one person, in the transaction of what is told."""
    await session.execute(
        insert(Notification).values(user_id=user_id, kind=kind, title=title, body=body, data=data)
    )


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
        to_all = select(
            User.id, literal("item.low_stock"), literal(title), literal(body), literal(data, JSONB)
        ).where(User.is_admin, User.is_active)
        columns = ["user_id", "kind", "title", "body", "data"]
        await session.execute(insert(Notification).from_select(columns, to_all))


async def find(session: Session, user_id: int, page: Page, *, unread: bool = False) -> list[Any]:
    """The user's notifications, newest first."""
    statement = select(*Notification.__table__.columns).where(Notification.user_id == user_id)
    if unread:
        statement = statement.where(Notification.read_at.is_(None))
    if page.after is not None:
        statement = statement.where(Notification.id < page.after[0])
    statement = statement.order_by(Notification.id.desc()).limit(page.fetch).offset(page.skip)
    return page.cut((await session.execute(statement)).all(), "id")


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


async def mark_all_read(session: Session, user_id: int) -> int:
    """How many were unread."""
    statement = update(Notification).where(Notification.user_id == user_id, Notification.read_at.is_(None))
    changed = await session.execute(statement.values(read_at=func.now()).returning(Notification.id))
    return len(changed.all())
