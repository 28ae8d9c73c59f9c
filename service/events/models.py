"""Events: what has happened, for emails and webhooks.

The tables of the jobs that follow them are the queue's own, and stand in no model
(service/platform/jobs/queue.py).
"""

from typing import Any, Final, Literal, get_args

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database.base import Base, CreatedAt, Id, Ref, Str

EventType = Literal[
    "user.registered",
    "item.created",
    "item.updated",
    "item.low_stock",
    "order.placed",
    "order.paid",
    "order.shipped",
    "order.delivered",
    "order.cancelled",
    "post.published",
]
EVENT_TYPES: Final = get_args(EventType)


class Event(Base):
    __tablename__ = "events"
    __table_args__ = (
        CheckConstraint(text(f"type IN {EVENT_TYPES}"), name="type_known"),
        Index("ix_events_occurred_at", "occurred_at"),
        # For the erasure of an account.
        Index("ix_events_user_id", "user_id"),
    )

    id: Mapped[Id]
    type: Mapped[Str]
    #: What it happened to: a user, an item, an order or a post, by the type's first word. No foreign
    #: key: the event is of the object as it was then, which may have been deleted since.
    object_id: Mapped[Ref]
    #: The user whom it is about: the customer, the author. Null for items.
    user_id: Mapped[Ref | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    #: Of the request that caused it, as its log lines have it; traceparent is W3C's.
    request_id: Mapped[Str | None]
    traceparent: Mapped[Str | None]
    occurred_at: Mapped[CreatedAt]
