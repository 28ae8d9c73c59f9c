"""Webhooks, and what is delivered to them."""

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database.model import Base, CreatedAt, Id, Instant, Ref, Str

DELIVERY_STATUSES = ("pending", "succeeded", "failed")
#: Why nobody but the service itself has switched a webhook off.
DISABLED_REASONS = ("gone", "failing")


class Webhook(Base):
    __tablename__ = "webhooks"
    __table_args__ = (
        CheckConstraint(text("cardinality(events) > 0"), name="events_named"),
        CheckConstraint(text(f"disabled_reason IN {DISABLED_REASONS}"), name="disabled_reason_known"),
    )

    id: Mapped[Id]
    url: Mapped[Str]
    description: Mapped[Str] = mapped_column(Text, server_default="")
    #: Types of events, or `*` for all.
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    #: Sealed (service/webhooks/secrets.py).
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    #: That before the last rotation, which signs too until then.
    previous_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    previous_until: Mapped[Instant | None]
    created_at: Mapped[CreatedAt]
    #: The first failed try since the last one that succeeded.
    failing_since: Mapped[Instant | None]
    #: Until then the receiver wants to be left alone (Retry-After).
    paused_until: Mapped[Instant | None]
    disabled_at: Mapped[Instant | None]
    disabled_reason: Mapped[Str | None]


class WebhookDelivery(Base):
    """What one webhook is to be told, once for each event however often it is tried."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint(text(f"status IN {DELIVERY_STATUSES}"), name="status_known"),
        UniqueConstraint("webhook_id", "event_id"),
        Index("ix_webhook_deliveries_webhook_id_id", "webhook_id", "id"),
        Index("ix_webhook_deliveries_created_at", "created_at"),
        Index("ix_webhook_deliveries_user_id", "user_id", postgresql_where=text("user_id IS NOT NULL")),
        # Those that nobody but the end of another delivery brings on.
        Index("ix_webhook_deliveries_waiting", "webhook_id", "id", postgresql_where=text("waiting")),
        Index("ix_webhook_deliveries_pending", "next_try_at", postgresql_where=text("status = 'pending'")),
    )

    id: Mapped[Id]
    webhook_id: Mapped[Ref] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    #: Null for a ping. No foreign key: events may be forgotten sooner.
    event_id: Mapped[Ref | None]
    event_type: Mapped[Str]
    #: Whom it is about.
    user_id: Mapped[Ref | None]
    #: `webhook-id`: the same for every try, and for every webhook that is told of the event.
    message_id: Mapped[Str]
    #: The very bytes that are signed and sent each time, whatever release does it.
    body: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[Str] = mapped_column(Text, server_default="pending")
    #: Tries begun, of this round: a repetition begins with none.
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[CreatedAt]
    next_try_at: Mapped[Instant | None]
    #: While a worker is at it, and no longer than it could be.
    claimed_until: Mapped[Instant | None]
    waiting: Mapped[bool] = mapped_column(server_default=text("false"))
    last_tried_at: Mapped[Instant | None]
    last_status: Mapped[int | None]
    #: Why there is no status, or what is wrong with it, in a word.
    fault: Mapped[Str | None]
    duration_ms: Mapped[int | None]
    #: The beginning of the last answer.
    answer: Mapped[Str | None]
    #: Of the request that caused the event.
    request_id: Mapped[Str | None]
    traceparent: Mapped[Str | None]
