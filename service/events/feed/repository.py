"""The events after a place, in the order of their places."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import ARRAY, DateTime, Integer, Text, bindparam, text

from service.platform.database import Record, Session

#: Events that are looked through at a time: those of rare types may lie far apart.
SCANNED: Final = 5_000
#: `last` and `scanned` come in any case, with nulls for an event where there is none. Of an event that is not
#: asked for, its data is not touched. Those whose data has been erased are left out.
_READ: Final = text(f"""
    WITH scanned AS MATERIALIZED (
        SELECT id, type, sequenced_at FROM events WHERE sequenced_at > :after AND sequenced_at <= :until
        ORDER BY sequenced_at LIMIT {SCANNED}
    ), found AS (
        SELECT id, scanned.type, user_id, request_id, traceparent, occurred_at, scanned.sequenced_at,
            CAST(data AS text) AS data
        FROM scanned JOIN events USING (id)
        WHERE scanned.type = ANY (:types) AND data <> '{{}}' ORDER BY scanned.sequenced_at LIMIT :most
    )
    SELECT through.last, through.scanned, found.*
    FROM (SELECT max(sequenced_at) AS last, count(*) AS scanned FROM scanned) AS through
    LEFT JOIN found ON true ORDER BY found.sequenced_at
""").bindparams(
    *(bindparam(name, type_=DateTime(timezone=True)) for name in ("after", "until")),
    bindparam("types", type_=ARRAY(Text)),
    bindparam("most", type_=Integer),
)


class Part(NamedTuple):
    """Events of the feed: rows of events, with `data` as text."""

    events: Sequence[Record]
    #: Where the next part begins.
    end: datetime
    #: Whether more may follow at once.
    more: bool


async def read(
    session: Session, after: datetime, until: datetime, types: Sequence[str], *, limit: int
) -> Part:
    """Those after one place, up to the other."""
    rows = await session.rows(
        _READ, {"after": after, "until": until, "types": list(types), "most": limit + 1}
    )
    found = [row for row in rows if row.id is not None]
    if len(found) > limit:
        return Part(found[:limit], found[limit - 1].sequenced_at, more=True)
    return Part(found, rows[0].last or after, more=rows[0].scanned == SCANNED)
