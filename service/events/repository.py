"""Every statement on events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    CTE,
    BigInteger,
    DateTime,
    Integer,
    Interval,
    Text,
    bindparam,
    cast,
    column,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from service.events import metrics
from service.events.models import Event, EventMark, EventType
from service.platform.database import Record, Session, after_commit
from service.platform.jobs import queue as jobs

#: The kind of job that hands an event to its consumers.
KIND: Final = "event"


_PAYLOAD: Final = "json_build_object('event_id', id)"


def _events(given: str, *, one: bool) -> tuple[CTE, ...]:
    published = text(f"""
        INSERT INTO events (type, object_id, user_id, data, request_id, traceparent)
        SELECT type, object_id, user_id, data, :event_request_id, :event_traceparent
        FROM {given} AS given (type, object_id, user_id, data, position)
        {"" if one else "ORDER BY position"}
        RETURNING id
    """).bindparams(
        *(bindparam(f"event_{name}", type_=Text) for name in ("request_id", "traceparent")),
        *(bindparam(f"event_{name}", type_=ARRAY(BigInteger)) for name in ("object_ids", "user_ids")),
        bindparam("event_types", type_=ARRAY(Text)),
        bindparam("event_datas", type_=ARRAY(JSONB)),
    )
    queued = jobs.queued_ctes("published", KIND, _PAYLOAD, one=one)
    return published.columns(column("id")).cte("published"), *queued


#: Events and their jobs, however many. Domains above write them in one statement with what has happened.
EVENTS: Final = _events(
    "unnest(:event_types, :event_object_ids, :event_user_ids, :event_datas) WITH ORDINALITY", one=False
)
#: The same for exactly one: to read the arrays as rows, and to sort those, costs PostgreSQL as much again.
EVENT: Final = _events(
    "(SELECT (:event_types)[1], (:event_object_ids)[1], (:event_user_ids)[1], (:event_datas)[1], 1)", one=True
)
#: Events given their places at a time: a poll after a large import must not take much longer.
BATCH: Final = 2_000
_SEQUENCE: Final = select(func.sequence_events(BATCH))
_LAG: Final = text("""
    SELECT CAST(extract(epoch FROM now() - min(occurred_at)) AS float8) FROM events WHERE sequenced_at IS NULL
""")
#: By their places, so that those which are left are all that came after; the last place is noted.
_PURGE: Final = text("""
    WITH purged AS (
        DELETE FROM events WHERE id IN (
            SELECT id FROM events WHERE sequenced_at < now() - :kept ORDER BY sequenced_at LIMIT :most
        )
        RETURNING sequenced_at
    ), noted AS (
        INSERT INTO event_marks AS known (name, place)
        SELECT 'purged', max(sequenced_at) FROM purged HAVING count(*) > 0
        ON CONFLICT (name) DO UPDATE SET place = greatest(known.place, excluded.place)
    )
    SELECT count(*) FROM purged
""").bindparams(bindparam("kept", type_=Interval), bindparam("most", type_=Integer))
_LAST_PLACE: Final = text("""
    SELECT greatest(
        (SELECT max(sequenced_at) FROM events WHERE sequenced_at IS NOT NULL),
        (SELECT place FROM event_marks WHERE name = 'purged')
    )
""")
_IS_KNOWN: Final = text("""
    SELECT EXISTS (SELECT FROM events WHERE sequenced_at = :place)
        OR coalesce((SELECT place FROM event_marks WHERE name = 'purged'), 'epoch') = :place
""").bindparams(bindparam("place", type_=DateTime(timezone=True)))
#: Not one whose content was personal, and has been erased.
NOT_EMPTY: Final = Event.data != cast({}, JSONB)
_id = EVENTS[0].c.id
_ADD: Final = select(_id).add_cte(*EVENTS).order_by(_id)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """`data` is the object as an administrator may see it, with its version, and amounts as text: webhooks
    shorten it (payloads.py).
    """

    type: EventType
    object_id: int
    data: Mapping[str, Any]
    user_id: int | None = None


async def publish(
    session: Session,
    event_type: EventType,
    *,
    object_id: int,
    data: Mapping[str, Any],
    user_id: int | None = None,
) -> int:
    """Publish an event, if this transaction is committed; its id."""
    return (await publish_new(session, [NewEvent(event_type, object_id, data, user_id)]))[0]


async def publish_each(
    session: Session,
    event_type: EventType,
    objects: Sequence[Mapping[str, Any]],
    *,
    user_id: int | None = None,
) -> None:
    """The same for many objects, each with its `id`: in one statement, and in this order."""
    if objects:
        await publish_new(session, [NewEvent(event_type, each["id"], each, user_id) for each in objects])


async def publish_new(session: Session, new: Sequence[NewEvent]) -> list[int]:
    """The ids of these events, in their order."""
    return await session.values(_ADD, to_publish(session, new))


def to_publish(session: Session, new: Sequence[NewEvent]) -> Mapping[str, Any]:
    """The parameters of EVENTS. They are counted when the session's transaction is committed."""
    after_commit(session, lambda: _count(new))
    origin = jobs.origin()
    return {
        "event_types": [event.type for event in new],
        "event_object_ids": [event.object_id for event in new],
        "event_user_ids": [event.user_id for event in new],
        "event_datas": [event.data for event in new],
        "event_request_id": origin.get("request_id"),
        "event_traceparent": origin.get("traceparent"),
        "headers": origin,
    }


def _count(new: Sequence[NewEvent]) -> None:
    for event in new:
        metrics.EVENTS.labels(event.type, "raised").inc()


async def get(session: Session, event_id: int) -> Record | None:
    """None too for one that was emptied when its user was erased."""
    statement = select(*Event.__table__.columns).where(Event.id == event_id, NOT_EMPTY)
    return await session.one(statement)


async def sequence(session: Session) -> int:
    """Give committed events their places, BATCH at most; how many got one.

    On a standby nothing is done: its primary does it.
    """
    given: int = await session.value(_SEQUENCE)
    return given


async def get_lag(session: Session) -> float:
    """For how many seconds the oldest event has been waiting for its place."""
    return float(await session.value(_LAG) or 0)


async def get_last_place(session: Session) -> datetime | None:
    """Of all events that there have been; None before the first."""
    last: datetime | None = await session.value(_LAST_PLACE)
    return last


async def is_known(session: Session, place: datetime) -> bool:
    """Whether an event has this place, or had it, and none after it has been deleted for its age. The first
    place of all is known until one has been.
    """
    known: bool = await session.value(_IS_KNOWN, {"place": place})
    return known


async def lock_mark(session: Session, name: str) -> datetime | None:
    """The place of this mark, locked until the transaction ends; None where there is none."""
    statement = select(EventMark.place).where(EventMark.name == name).with_for_update()
    place: datetime | None = await session.value(statement)
    return place


async def set_mark(session: Session, name: str, place: datetime) -> None:
    statement = upsert(EventMark).values(name=name, place=place)
    await session.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_={"place": statement.excluded.place})
    )


async def purge(session: Session, kept: timedelta, *, most: int) -> int:
    """Delete at most so many of the first that got their places longer ago than that; their number."""
    purged: int = await session.value(_PURGE, {"kept": kept, "most": most})
    return purged
