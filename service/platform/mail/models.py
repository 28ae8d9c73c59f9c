"""Emails: one row each, from the transaction that enqueues it until long after it was sent."""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database.base import Base, CreatedAt, Id, Instant, Ref, Str

STATUSES = ("queued", "sending", "sent", "withheld", "failed")


class Mail(Base):
    """An email is rendered when it is sent: neither its text nor a token in it is stored."""

    __tablename__ = "mails"
    __table_args__ = (
        CheckConstraint(f"status IN {STATUSES}", name="status_known"),
        # One for an event and kind. Emails without an event are not compared.
        UniqueConstraint("event_id", "kind"),
        Index("ix_mails_user_id_created_at", "user_id", "created_at"),
        Index("ix_mails_created_at", "created_at"),
    )

    id: Mapped[Id]
    kind: Mapped[Str]
    #: Whose account it is about; null until that is known (any client may request a password reset).
    user_id: Mapped[Ref | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    #: Of events that may be deleted: no foreign key.
    event_id: Mapped[Ref | None]
    #: Where it goes, if that is not the account's address: encrypted under SECRET_KEY.
    address: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: What it says. Deleted with the address once the email has ended.
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    #: The same for every attempt, in the header Message-ID.
    message_id: Mapped[Str]
    status: Mapped[Str] = mapped_column(server_default=text("'queued'"))
    #: Why it was withheld or has failed; without an address.
    reason: Mapped[Str | None]
    #: The lease of the worker that sends it.
    claimed_until: Mapped[Instant | None]
    created_at: Mapped[CreatedAt]
    ended_at: Mapped[Instant | None]
