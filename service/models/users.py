"""Accounts and their one address."""

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, false, func, text, true
from sqlalchemy.orm import Mapped, mapped_column

from service.models.base import Base, CreatedAt, Id, Instant, Ref, Str, Version


class User(Base):
    __tablename__ = "users"
    __table_args__ = (
        # Unique regardless of case; the address is kept as its owner wrote it.
        Index("uq_users_email_lower", func.lower(text("email")), unique=True),
        # Few rows: what keeps the last administrator locks them all, in order.
        Index(
            "ix_users_access_changed_at",
            "access_changed_at",
            postgresql_where=text("access_changed_at IS NOT NULL"),
        ),
        CheckConstraint("erased_at IS NULL OR NOT (is_active OR is_admin)", name="erased_is_nobody"),
        Index("ix_users_administrators", "id", postgresql_where=text("is_admin AND is_active")),
    )

    id: Mapped[Id]
    email: Mapped[Str]
    full_name: Mapped[Str]
    password_hash: Mapped[Str]
    is_active: Mapped[bool] = mapped_column(Boolean, server_default=true())
    is_admin: Mapped[bool] = mapped_column(Boolean, server_default=false())
    email_verified: Mapped[bool] = mapped_column(Boolean, server_default=false())
    #: When it was last activated, deactivated, granted or withdrawn. Tokens from before say otherwise.
    access_changed_at: Mapped[Instant | None]
    #: When its owner had it deleted: what is left stands for nobody, and never again for somebody.
    erased_at: Mapped[Instant | None]
    version: Mapped[Version]
    created_at: Mapped[CreatedAt]


class Address(Base):
    """At most one a user: the user is the key."""

    __tablename__ = "addresses"

    user_id: Mapped[Ref] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[Str | None]
    street: Mapped[Str]
    city: Mapped[Str]
    region: Mapped[Str | None]
    postal_code: Mapped[Str | None]
    country: Mapped[Str]
