"""The figures of one customer, counted in one statement."""

from sqlalchemy import JSON, func, select, true

from service.identity.models import User
from service.notifications.models import Notification
from service.orders.models import STATUSES, Order
from service.platform.database import Record, Session, none_of
from service.posts.models import Post

NOT_SPENT = ("cancelled", "refunded")


async def statistics(session: Session, user_id: int) -> Record | None:
    """The row has the shape of Statistics; None when there is no such user."""
    counts = {status: func.count().filter(Order.status == status) for status in STATUSES}
    by_status = func.json_build_object(*(part for pair in counts.items() for part in pair), type_=JSON)
    spent = func.coalesce(func.sum(Order.total).filter(none_of(Order.status, NOT_SPENT)), 0)
    of_orders = (
        select(
            func.count().label("orders_count"),
            by_status.label("orders_by_status"),
            counts["placed"].label("unpaid_count"),
            spent.label("total_spent"),
            func.min(Order.placed_at).label("first_order_at"),
            func.max(Order.placed_at).label("last_order_at"),
        )
        .where(Order.user_id == User.id)
        .lateral()
    )
    posts = select(func.count()).where(Post.author_id == User.id).scalar_subquery()
    unread = (
        select(func.count())
        .where(Notification.user_id == User.id, Notification.read_at.is_(None))
        .scalar_subquery()
    )
    statement = (
        select(*of_orders.columns, posts.label("posts_count"), unread.label("unread_notifications_count"))
        .select_from(User)
        .join(of_orders, true())
        .where(User.id == user_id)
    )
    return await session.one(statement)
