"""Accounts with their address; sessions and their refresh tokens, single-use tokens of emails, and API keys.

A token is never stored: its SHA-256 is, which finds it and cannot be turned back, because what is
hashed has 256 random bits.
"""

from typing import get_args

from sqlalchemy import (
    ARRAY,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    false,
    func,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from service.identity.callers import Scope
from service.platform.database.base import Base, CreatedAt, Id, Instant, Ref, Str, Version

MAIL_PURPOSES = ("verify_email", "reset_password", "change_email")
SCOPES = get_args(Scope)


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
        # For lists of users, and the search for a part of a name or address.
        Index("ix_users_admins", "id", postgresql_where=text("is_admin")),
        Index("ix_users_deactivated", "id", postgresql_where=text("NOT is_active")),
        *(
            Index(
                f"ix_users_{name}_trgm", name, postgresql_using="gin", postgresql_ops={name: "gin_trgm_ops"}
            )
            for name in ("email", "full_name")
        ),
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
    #: When its owner deleted it: the row that is left is no user, and never becomes one again.
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


class Session(Base):
    """One row a sign-in, which its access tokens name as `sid`; the family of its refresh tokens."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_user_id", "user_id", postgresql_where=text("ended_at IS NULL")),
        # Those whose access tokens may still be about: what a process loads when it starts.
        Index("ix_sessions_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    )

    id: Mapped[Id]
    user_id: Mapped[Ref] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    client: Mapped[Str | None]
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[CreatedAt]
    ended_at: Mapped[Instant | None]


class RefreshToken(Base):
    """Every refresh token that a session has had: an old one that comes back is theft."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (Index("ix_refresh_tokens_session_id", "session_id"),)

    hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[Ref] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    created_at: Mapped[CreatedAt]
    #: When its successor was first handed out.
    rotated_at: Mapped[Instant | None]


class MailToken(Base):
    """What a mailed link carries: good once, until it ends or the account's state has moved on."""

    __tablename__ = "mail_tokens"
    __table_args__ = (
        CheckConstraint(f"purpose IN {MAIL_PURPOSES}", name="purpose_known"),
        Index("ix_mail_tokens_user_id", "user_id"),
        Index("ix_mail_tokens_expires_at", "expires_at"),
    )

    hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[Ref] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    purpose: Mapped[Str]
    #: Where it was sent; for a change of address, the new one.
    email: Mapped[Str]
    #: A digest of what must not change before the token is used (accounts/recovery/service.py).
    account_state: Mapped[bytes] = mapped_column(LargeBinary)
    #: The email that it is in. One that is tried again has a token for each try; no foreign key, for a
    #: token is kept shorter.
    mail_id: Mapped[Ref | None]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Instant]
    used_at: Mapped[Instant | None]


class ApiKey(Base):
    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint(f"scopes <@ ARRAY{list(SCOPES)}", name="scopes_known"),
        Index("uq_api_keys_hash", "hash", unique=True),
        Index("ix_api_keys_created_by", "created_by"),
    )

    id: Mapped[Id]
    name: Mapped[Str]
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    #: The first characters, by which its owner recognises it.
    hint: Mapped[Str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_by: Mapped[Ref] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Instant | None]
    last_used_at: Mapped[Instant | None]
    revoked_at: Mapped[Instant | None]
