"""A summary of one customer."""

from typing import Annotated

from pydantic import Field

from service.notifications import Notification
from service.orders import Order
from service.platform.http.schemas import Id, Instant, Money, Out


class OrdersByStatus(Out):
    placed: int
    paid: int
    shipped: int
    delivered: int
    cancelled: int
    refunded: int


class Statistics(Out):
    orders_count: int
    orders_by_status: OrdersByStatus
    unpaid_count: Annotated[int, Field(description="The number of orders that are not paid yet.")]
    total_spent: Annotated[
        Money, Field(description="The sum of all orders' totals, without cancelled and refunded ones.")
    ]
    first_order_at: Instant | None
    last_order_at: Instant | None
    posts_count: Annotated[int, Field(description="The number of the user's posts, pending ones included.")]
    unread_notifications_count: int


class Dashboard(Out):
    user_id: Id
    stats: Statistics
    orders: Annotated[list[Order], Field(description="The last 10 orders, newest first.")]
    notifications: Annotated[
        list[Notification], Field(description="The last 10 unread notifications, newest first.")
    ]
