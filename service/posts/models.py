"""Shop news and customers' posts."""

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database.base import Base, CreatedAt, Id, Instant, Ref, Str, Version

STATUSES = ("pending", "published")


class Post(Base):
    __tablename__ = "posts"
    __table_args__ = (
        CheckConstraint(f"status IN {STATUSES}", name="status_known"),
        Index("ix_posts_published", "id", postgresql_where=text("status = 'published'")),
        Index("ix_posts_pending", "id", postgresql_where=text("status = 'pending'")),
        Index("ix_posts_author_id_id", "author_id", "id"),
    )

    id: Mapped[Id]
    title: Mapped[Str]
    body: Mapped[Str]
    author_id: Mapped[Ref] = mapped_column(ForeignKey("users.id"))
    status: Mapped[Str] = mapped_column(server_default=text("'pending'"))
    version: Mapped[Version]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    published_at: Mapped[Instant | None]
