"""Imports: their files until they are purged, what has come of them, and the rows that were refused."""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, LargeBinary, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database.base import Base, CreatedAt, Id, Instant, Ref, Str

#: An upload is not complete yet; then it waits for a worker, runs, and is done or has failed.
STATUSES = ("uploading", "waiting", "running", "done", "failed")


class Import(Base):
    __tablename__ = "imports"
    __table_args__ = (
        CheckConstraint(f"status IN {STATUSES}", name="status_known"),
        Index("ix_imports_created_at", "created_at"),
        Index("ix_imports_created_by", "created_by"),
    )

    id: Mapped[Id]
    status: Mapped[Str] = mapped_column(server_default=text("'uploading'"))
    size: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    created_by: Mapped[Ref | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    #: By the names of the files: total, done. By kind: added, known.
    progress: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    refused: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    #: Why it has failed.
    error: Mapped[Str | None]
    created_at: Mapped[CreatedAt]
    started_at: Mapped[Instant | None]
    ended_at: Mapped[Instant | None]


class ImportPart(Base):
    """A part of the zip, in the order of the numbers."""

    __tablename__ = "import_parts"

    import_id: Mapped[Ref] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class ImportRefusal(Base):
    __tablename__ = "import_refusals"

    import_id: Mapped[Ref] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    file: Mapped[Str]
    line: Mapped[int] = mapped_column(Integer)
    key: Mapped[Str]
    reason: Mapped[Str]
