"""Sessions: one row a sign-in, which its access tokens name as `sid`."""

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from service.models.base import Base, CreatedAt, Id, Instant, Ref, Str


class Session(Base):
    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_user_id", "user_id", postgresql_where=text("ended_at IS NULL")),)

    id: Mapped[Id]
    user_id: Mapped[Ref] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    client: Mapped[Str | None]
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[CreatedAt]
    ended_at: Mapped[Instant | None]
