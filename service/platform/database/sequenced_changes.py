"""What has changed since a client's last poll, in the order of the commits (docs/adr/0031).

A kind is a table with the trigger `note_change` (migrations/versions/20261129_sequenced_changes.py): it
notes each change in the change's own transaction. After the commit a poll or the worker, whichever is first,
gives it its place in the order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Index,
    Select,
    and_,
    bindparam,
    exists,
    func,
    select,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database import Session
from service.platform.database.base import Base, Id, Instant, Ref, Str
from service.platform.database.pagination import Page

Kind = Literal["items", "posts"]

#: Changes that are given their places at a time: a poll after a large import must not take much longer.
BATCH: Final = 5_000
_STEP: Final = timedelta(microseconds=1)
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


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


_change: Final = SequencedChange.__table__.c
_SEQUENCE: Final = select(func.sequence_changes(BATCH))
_LAST: Final = select(func.max(_change.sequenced_at)).where(_change.kind == bindparam("kind"))


@dataclass(frozen=True, slots=True)
class Poll:
    """The changes of a kind from `since` on, up to the last that had its place when the poll began."""

    kind: Kind
    since: datetime
    last: datetime


async def sequence(session: Session) -> None:
    """Give committed changes their places. On a standby nothing is done: its primary does it."""
    await session.execute(_SEQUENCE)


async def begin_poll(session: Session, kind: Kind, since: datetime) -> Poll:
    await sequence(session)
    last = await session.value(_LAST, {"kind": kind})
    return Poll(kind, since, last or _BEGINNING)


def changed_since(kind: Kind, row_id: Any, moment: Any) -> ColumnElement[bool]:
    """Whether a row was changed then or later."""
    return exists().where(_change.kind == kind, _change.row_id == row_id, _change.sequenced_at >= moment)


async def find(
    session: Session,
    page: Page,
    poll: Poll,
    rows: Select[*tuple[Any, ...]],
    *,
    row_id: Any,
    values: Mapping[str, Any],
) -> list[Any]:
    """Those of the rows that the poll is about. A client that goes on from `page.mark` misses none.

    `values`: of the parameters in `rows`.
    """
    statement = rows.join(
        SequencedChange.__table__, and_(_change.kind == poll.kind, _change.row_id == row_id)
    ).add_columns(_change.sequenced_at)
    return await _page(session, page, poll, statement, values)


async def find_removed(
    session: Session, page: Page, poll: Poll, visible: Select[Any], *, sees_all: bool
) -> list[Any]:
    """Those that the caller could see once and cannot any longer: rows have `id` and `removed_at`.

    `visible` selects the ids of all that the caller may see. `sees_all`: the caller may see hidden rows too.
    """
    statement = select(
        _change.row_id.label("id"), _change.sequenced_at, _change.sequenced_at.label("removed_at")
    )
    statement = statement.where(_change.kind == poll.kind, true() if sees_all else _change.public)
    gone = ~visible.where(visible.selected_columns[0] == _change.row_id).correlate(SequencedChange).exists()
    return await _page(session, page, poll, statement.where(gone), {})


async def _page(
    session: Session, page: Page, poll: Poll, statement: Select[Any], values: Mapping[str, Any]
) -> list[Any]:
    place = _change.sequenced_at
    begin = place >= poll.since if page.after is None else place > page.after[0]
    statement = statement.where(begin, place <= poll.last).order_by(place)
    found = await session.rows(statement.limit(page.fetch).offset(page.skip), values)
    shown = page.cut(found, "sequenced_at")
    page.mark = (page.next[0] if page.next else poll.last) + _STEP
    return shown
