"""What has changed since a client's last poll, in the order of the commits (docs/adr/0031).

A kind is a table with the trigger `note_change` (migrations/versions/20261129_sequenced_changes.py): it
notes each change in the change's own transaction. What is committed is then given its place in the order,
by whoever asks first: a poll, or the worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Select, and_, exists, func, select, true

from service.platform.database import Session
from service.platform.database.pagination import Page
from service.platform.database.pending_changes import SequencedChange

Kind = Literal["items", "posts"]

#: Given their places at a time: a poll after a large import must not take much longer than others.
MOST: Final = 5_000
_STEP: Final = timedelta(microseconds=1)
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_change: Final = SequencedChange.__table__.c


@dataclass(frozen=True, slots=True)
class Poll:
    """The changes of a kind from `since` on, up to the last that had its place when the poll began."""

    kind: Kind
    since: datetime
    last: datetime


async def sequence(session: Session) -> None:
    """Give what is committed its place, unless the database is read-only: there another one does it."""
    await session.execute(select(func.sequence_changes(MOST)))


async def poll(session: Session, kind: Kind, since: datetime) -> Poll:
    await sequence(session)
    last = await session.scalar(select(func.max(_change.sequenced_at)).where(_change.kind == kind))
    return Poll(kind, since, last or _BEGINNING)


def since(kind: Kind, row_id: Any, moment: datetime) -> ColumnElement[bool]:
    """Whether a row was changed then or later."""
    return exists().where(_change.kind == kind, _change.row_id == row_id, _change.sequenced_at >= moment)


async def find(session: Session, page: Page, asked: Poll, rows: Select[Any], row_id: Any) -> list[Any]:
    """Of these rows those that the poll is about. Whoever goes on from `page.mark` misses none."""
    statement = rows.join(
        SequencedChange.__table__, and_(_change.kind == asked.kind, _change.row_id == row_id)
    ).add_columns(_change.sequenced_at)
    return await _page(session, page, asked, statement)


async def find_removed(
    session: Session, page: Page, asked: Poll, visible: Select[Any], *, sees_all: bool
) -> list[Any]:
    """Those that the caller could see once and cannot any longer: rows have `id` and `removed_at`.

    `visible` selects the ids of all that the caller may see. Who `sees_all` has seen all that is gone.
    """
    statement = select(
        _change.row_id.label("id"), _change.sequenced_at, _change.sequenced_at.label("removed_at")
    )
    statement = statement.where(_change.kind == asked.kind, true() if sees_all else _change.public)
    gone = ~visible.where(visible.selected_columns[0] == _change.row_id).correlate(SequencedChange).exists()
    return await _page(session, page, asked, statement.where(gone))


async def _page(session: Session, page: Page, asked: Poll, statement: Select[Any]) -> list[Any]:
    place = _change.sequenced_at
    begin = place >= asked.since if page.after is None else place > page.after[0]
    statement = statement.where(begin, place <= asked.last).order_by(place)
    found: Sequence[Any] = (await session.execute(statement.limit(page.fetch).offset(page.skip))).all()
    shown = page.cut(found, "sequenced_at")
    page.mark = (page.next[0] if page.next else asked.last) + _STEP
    return shown
