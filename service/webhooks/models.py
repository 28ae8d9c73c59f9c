"""Webhooks and their deliveries."""

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database.base import Base, CreatedAt, Id, Instant, Ref, Str

#: A subscription to every type of event.
EVERY_EVENT = "*"
DELIVERY_STATUSES = ("pending", "succeeded", "failed")
#: Why the service itself disabled a webhook.
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
    #: Types of events, or EVERY_EVENT.
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    #: Encrypted (service/webhooks/signing.py).
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    #: The secret before the last rotation, which signs too until `previous_until`.
    previous_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    previous_until: Mapped[Instant | None]
    created_at: Mapped[CreatedAt]
    #: The first failed attempt since the last success.
    failing_since: Mapped[Instant | None]
    #: No attempt is made until then: the receiver's Retry-After.
    paused_until: Mapped[Instant | None]
    disabled_at: Mapped[Instant | None]
    disabled_reason: Mapped[Str | None]


class WebhookDelivery(Base):
    """A message for one webhook: one for each event, however many attempts it takes."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint(text(f"status IN {DELIVERY_STATUSES}"), name="status_known"),
        UniqueConstraint("webhook_id", "event_id"),
        Index("ix_webhook_deliveries_webhook_id_id", "webhook_id", "id"),
        Index("ix_webhook_deliveries_webhook_id_status_id", "webhook_id", "status", "id"),
        Index("ix_webhook_deliveries_created_at", "created_at"),
        Index("ix_webhook_deliveries_user_id", "user_id", postgresql_where=text("user_id IS NOT NULL")),
        # Queued again by the next delivery of the webhook that ends.
        Index("ix_webhook_deliveries_waiting", "webhook_id", "id", postgresql_where=text("waiting")),
        Index("ix_webhook_deliveries_pending", "next_try_at", postgresql_where=text("status = 'pending'")),
    )

    id: Mapped[Id]
    webhook_id: Mapped[Ref] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    #: Null for a ping. No foreign key: events may be purged sooner.
    event_id: Mapped[Ref | None]
    event_type: Mapped[Str]
    #: The user that the event is about.
    user_id: Mapped[Ref | None]
    #: The header `webhook-id`: the same for every attempt, and for every webhook that gets the event.
    message_id: Mapped[Str]
    #: The bytes that are signed and sent by each attempt, whatever release makes it.
    body: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[Str] = mapped_column(Text, server_default="pending")
    #: Attempts begun; `redeliver` starts again from none.
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[CreatedAt]
    next_try_at: Mapped[Instant | None]
    #: While a worker makes an attempt: its lease.
    claimed_until: Mapped[Instant | None]
    waiting: Mapped[bool] = mapped_column(server_default=text("false"))
    last_tried_at: Mapped[Instant | None]
    last_status: Mapped[int | None]
    #: Why the last attempt failed, in a word.
    fault: Mapped[Str | None]
    duration_ms: Mapped[int | None]
    #: The beginning of the last response's body.
    answer: Mapped[Str | None]
    #: Of the request that caused the event.
    request_id: Mapped[Str | None]
    traceparent: Mapped[Str | None]
