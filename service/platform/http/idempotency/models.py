"""Idempotency keys, each with its response, written in the transaction that the response reports."""

from typing import Any

from sqlalchemy import Index, Integer, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database.base import Base, CreatedAt, Str


class IdempotencyKey(Base):
    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)

    #: `user:12` or `key:3`. No foreign key: a row lives for a day, and a reference would lock the user.
    caller: Mapped[Str] = mapped_column(primary_key=True)
    #: Method and template, such as `POST /api/v1/orders/{order_id}/pay`.
    route: Mapped[Str] = mapped_column(primary_key=True)
    key: Mapped[Str] = mapped_column(primary_key=True)
    #: HMAC of the request: a body may hold what must not be stored.
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    #: The rights of the caller when the response was made: with fewer, it is not sent again.
    rights: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    #: Null where an earlier release has committed a refusal: it wrote the row before the request was run.
    status: Mapped[int | None] = mapped_column(Integer)
    headers: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[CreatedAt]
