"""Events: what has happened, for emails, webhooks and the event feed.

The tables of the jobs that follow them are the queue's own, and stand in no model
(service/platform/jobs/queue.py).
"""

from typing import Any, Final, Literal, get_args

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database.base import Base, CreatedAt, Id, Instant, Ref, Str

EventType = Literal[
    "user.registered",
    "user.updated",
    "user.deactivated",
    "user.activated",
    "user.erased",
    "item.created",
    "item.updated",
    "item.withdrawn",
    "item.low_stock",
    "stock.changed",
    "order.placed",
    "order.updated",
    "order.redirected",
    "order.paid",
    "order.shipped",
    "order.delivered",
    "order.cancelled",
    "order.refunded",
    "post.created",
    "post.updated",
    "post.published",
    "post.deleted",
]
EVENT_TYPES: Final = get_args(EventType)


class Event(Base):
    __tablename__ = "events"
    __table_args__ = (
        CheckConstraint(text(f"type IN {EVENT_TYPES}"), name="type_known"),
        Index("ix_events_occurred_at", "occurred_at"),
        # For the erasure of an account.
        Index("ix_events_user_id", "user_id"),
        # For the sequencer; and what readers of the feed follow.
        Index("ix_events_unsequenced", "id", postgresql_where=text("sequenced_at IS NULL")),
        Index(
            "uq_events_sequenced_at",
            "sequenced_at",
            unique=True,
            postgresql_where=text("sequenced_at IS NOT NULL"),
        ),
    )

    id: Mapped[Id]
    type: Mapped[Str]
    #: What it happened to: a user, an item, an order or a post, by the type's first word. No foreign
    #: key: the event is of the object as it was then, which may have been deleted since.
    object_id: Mapped[Ref]
    #: The user whom it is about: the customer, the author. Null for items.
    user_id: Mapped[Ref | None]
    #: Empty where it was personal and its user has been erased: the event is then neither fed nor delivered.
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    #: Of the request that caused it, as its log lines have it; traceparent is W3C's.
    request_id: Mapped[Str | None]
    traceparent: Mapped[Str | None]
    occurred_at: Mapped[CreatedAt]
    #: Its place among all events, in the order of the commits: given after the commit (docs/adr/0051).
    sequenced_at: Mapped[Instant | None]


class EventMark(Base):
    """A place that must outlive the event that had it."""

    __tablename__ = "event_marks"

    #: `purged`: the last event that was deleted for its age; `stock`: the last change of stock of which there
    #: is an event (a place among those changes).
    name: Mapped[Str] = mapped_column(primary_key=True)
    place: Mapped[Instant]
