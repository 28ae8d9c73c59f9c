"""Mails: one row each, from the transaction that wants it until long after it has left."""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database.model import Base, CreatedAt, Id, Instant, Ref, Str

STATUSES = ("queued", "sending", "sent", "withheld", "failed")


class Mail(Base):
    """What it says is written when it leaves, and stored nowhere: neither its text nor a token in it."""

    __tablename__ = "mails"
    __table_args__ = (
        CheckConstraint(f"status IN {STATUSES}", name="status_known"),
        # None twice for one event. Mails without one are not compared.
        UniqueConstraint("event_id", "kind"),
        Index("ix_mails_user_id_created_at", "user_id", "created_at"),
        Index("ix_mails_created_at", "created_at"),
    )

    id: Mapped[Id]
    kind: Mapped[Str]
    #: Whose account it is about; null until that is known (a reset that anybody may ask for).
    user_id: Mapped[Ref | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    #: Of events that may be forgotten: no foreign key.
    event_id: Mapped[Ref | None]
    #: Where to, where that is not the account's own address: sealed under SECRET_KEY.
    address: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: What it tells beside that. It goes with the address once the mail has ended.
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    #: The same for every try, and as Message-ID told to whoever receives it.
    message_id: Mapped[Str]
    status: Mapped[Str] = mapped_column(server_default=text("'queued'"))
    #: Why it was withheld or has failed, in words without an address.
    reason: Mapped[Str | None]
    #: Until then whoever sends it may still be at it.
    claimed_until: Mapped[Instant | None]
    created_at: Mapped[CreatedAt]
    ended_at: Mapped[Instant | None]
