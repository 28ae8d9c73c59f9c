"""The audit log. A trigger refuses UPDATE and DELETE: erasing a person needs no change of it.

It names persons by id and by HMAC only. Client addresses are personal data and stand beside it, in
partitions by month, which are dropped when they are old enough.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Index, func, text
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database.model import Base, CreatedAt, Id, Ref, Str


class AuditEntry(Base):
    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_actor_id_id", "actor_id", "id"),
        Index("ix_audit_log_action_id", "action", "id"),
        # The id first: it narrows more than the kind, and may be asked for alone.
        Index("ix_audit_log_target", "target_id", "target_kind", "id"),
        Index("ix_audit_log_at", "at"),
        Index("ix_audit_log_request_id", "request_id"),
        Index(
            "ix_audit_log_caller_request_id",
            "caller_request_id",
            postgresql_where=text("caller_request_id IS NOT NULL"),
        ),
    )

    id: Mapped[Id]
    at: Mapped[CreatedAt]
    #: Who did it: a user, or the API key. Null for a stranger. No foreign key: the log outlives both.
    actor_id: Mapped[Ref | None]
    key_id: Mapped[Ref | None]
    #: `noun.past_verb`, such as `session.started`.
    action: Mapped[Str]
    target_kind: Mapped[Str | None]
    target_id: Mapped[Ref | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    #: Ours, made here; a caller's own id stands beside it, for it may be anything.
    request_id: Mapped[Str | None]
    caller_request_id: Mapped[Str | None]


class AuditAddress(Base):
    """The client's address of an entry, for as long as RETENTION_AUDIT."""

    __tablename__ = "audit_addresses"
    __table_args__ = ({"postgresql_partition_by": "RANGE (at)"},)

    audit_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True, server_default=func.now())
    address: Mapped[str] = mapped_column(INET)
