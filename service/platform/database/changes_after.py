"""The changes of a list after a position, in the order of the commits, for clients that keep a copy of it.

    _OWN = Changes("orders", Audience.OWNER, rows=select(document(...)).where(...), row_id=Order.id)
    rows = await _OWN.read(session, page, after, owner_id=7)

Each row that the caller may see comes as it is now, once for all that has happened to it since; one that they
could see and cannot any longer comes by its id alone. docs/adr/0052 has the reasons.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Integer,
    Select,
    Subquery,
    bindparam,
    exists,
    func,
    literal_column,
    select,
    true,
    union_all,
)

from service.platform.database import Session, positions
from service.platform.database.documents import document, object_of
from service.platform.database.pagination import Page
from service.platform.database.sequenced_changes import Kind, LostChange, SequencedChange, sequence

#: In place of a position: everything from the first change on, or only what comes from now on.
START: Final = "start"
NOW: Final = "now"
ANEW: Final = f"Start anew with `changes_after={START}`, and drop what the new copy does not have."

_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_change: Final = SequencedChange.__table__.c
_lost: Final = LostChange.__table__.c
_after: Final = bindparam("after", type_=DateTime(timezone=True))
_last: Final = bindparam("last", type_=DateTime(timezone=True))
_owner_id: Final = bindparam("owner_id", type_=BigInteger)


class Audience(StrEnum):
    """Whose changes they are: of all rows, of what the public has ever seen, or of the owner's rows."""

    EVERYTHING = "all"
    PUBLIC = "public"
    OWNER = "owner"
    PUBLIC_AND_OWNER = "public-and-owner"


#: The parts of an audience, of which none has a row of another: each is in the order of an index of its own.
_PARTS: Final[dict[Audience, tuple[ColumnElement[bool], ...]]] = {
    Audience.EVERYTHING: (true(),),
    Audience.PUBLIC: (_change.public,),
    Audience.OWNER: (_change.owner_id == _owner_id,),
    Audience.PUBLIC_AND_OWNER: (_change.public, (_change.owner_id == _owner_id) & ~_change.public),
}


class Changes:
    """The changes of one kind as one audience sees them.

    `rows` selects the documents of all that the audience may see now; in it, `owner_id` is a parameter.
    `removed` is the schema of what it cannot see any longer.
    """

    def __init__(
        self,
        kind: Kind,
        audience: Audience,
        *,
        rows: Select[Any],
        row_id: ColumnElement[int],
        removed: type[BaseModel],
    ) -> None:
        self._stream = f"{kind}:{audience}"
        of_kind = _change.kind == literal_column(f"'{kind}'")
        changed = _page(of_kind, _PARTS[audience])
        gone = object_of(removed, changed.c, id=changed.c.row_id, removed_at=changed.c.sequenced_at)
        shown = rows.where(row_id == changed.c.row_id).lateral("shown")
        self._page = (
            select(func.coalesce(shown.c.document, document(gone).element).label("document"))
            .add_columns(changed.c.sequenced_at)
            .select_from(changed.outerjoin(shown, true()))
            .order_by(changed.c.sequenced_at)
        )
        of_the_kind = _lost.kind == literal_column(f"'{kind}'")
        self._state = select(
            select(func.max(_change.sequenced_at)).where(of_kind).scalar_subquery().label("last"),
            exists()
            .where(of_the_kind, _lost.lost_after < _after, _after <= _lost.lost_until)
            .label("is_lost"),
            literal_column("current_setting('transaction_read_only')::boolean").label("is_copy"),
        )

    async def read(
        self, session: Session, page: Page, after: str, *, owner_id: int | None = None, **others: Any
    ) -> list[Any]:
        """Rows with the column `document`. `others`: further parameters. Raises PositionUnknown."""
        stream = self._stream if owner_id is None else f"{self._stream}:{owner_id}"
        since = None if after in (START, NOW) else _moment(stream, after)
        await sequence(session)
        state = await session.one(self._state, {"after": since})
        assert state is not None  # noqa: S101 - it has no FROM
        last = state.last or _BEGINNING
        # A read-only copy may lag behind the position. A primary has given it, unless a restore took it away.
        if since is not None and (state.is_lost or (since > last and not state.is_copy)):
            raise positions.unknown(ANEW)
        since = since or _BEGINNING
        reached = max(since, last)
        shown: list[Any] = []
        if after != NOW:
            values = {**others, "after": since, "last": last, "owner_id": owner_id, "fetch": page.fetch}
            found = await session.rows(self._page, values)
            shown, page.more = found[: page.limit], len(found) > page.limit
            reached = shown[-1].sequenced_at if page.more else reached
        page.position = positions.encode(stream, (reached - _BEGINNING) // _MICROSECOND)
        return shown


def _page(of_kind: ColumnElement[bool], parts: tuple[ColumnElement[bool], ...]) -> Subquery:
    place, fetch = _change.sequenced_at, bindparam("fetch", type_=Integer)
    selects = [
        select(_change.row_id, place)
        .where(of_kind, part, place > _after, place <= _last)
        .order_by(place)
        .limit(fetch)
        for part in parts
    ]
    if len(selects) == 1:
        return selects[0].subquery("changed")
    every = union_all(*(each.subquery().select() for each in selects)).subquery()
    return (
        select(every.c.row_id, every.c.sequenced_at)
        .order_by(every.c.sequenced_at)
        .limit(fetch)
        .subquery("changed")
    )


def _moment(stream: str, position: str) -> datetime:
    place = positions.decode(stream, position, anew=ANEW)
    try:
        return _BEGINNING + place * _MICROSECOND
    except OverflowError as fault:
        raise positions.unknown(ANEW) from fault
