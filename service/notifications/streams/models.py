"""Tickets for streams of notifications, by their hashes: valid once, for half a minute."""

from sqlalchemy import ForeignKey, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database.base import Base, Instant, Ref


class StreamTicket(Base):
    __tablename__ = "stream_tickets"
    __table_args__ = (
        Index("ix_stream_tickets_session_id", "session_id"),
        Index("ix_stream_tickets_expires_at", "expires_at"),
    )

    hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[Ref] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    expires_at: Mapped[Instant]
    #: When the access token expires that the ticket was issued with; its stream ends then.
    token_ends_at: Mapped[Instant]
