"""In which order changes were committed, for clients that poll (docs/adr/0031)."""

from sqlalchemy import BigInteger, Boolean, Index
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database.model import Base, Id, Instant, Ref, Str


class PendingChange(Base):
    """A row was changed, and has no place in the order yet. Written by a trigger, with the change."""

    __tablename__ = "pending_changes"

    id: Mapped[Id]
    kind: Mapped[Str]
    row_id: Mapped[Ref]
    #: Whether the public could see the row before the change or can see it after.
    public: Mapped[bool] = mapped_column(Boolean)


class SequencedChange(Base):
    """The last committed change of each row that has ever been, and its place among those of its kind."""

    __tablename__ = "sequenced_changes"
    __table_args__ = (Index("uq_sequenced_changes_kind_sequenced_at", "kind", "sequenced_at", unique=True),)

    kind: Mapped[Str] = mapped_column(primary_key=True)
    row_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    sequenced_at: Mapped[Instant]
    #: Whether the public has ever been able to see the row.
    public: Mapped[bool] = mapped_column(Boolean)
