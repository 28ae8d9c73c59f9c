"""Every statement on events."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Text, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from service.events import metrics
from service.events.models import Event, EventType
from service.platform.database import Record, Session, after_commit
from service.platform.jobs import enqueue as jobs

#: The kind of job that takes an event to those who want to know of it.
KIND: Final = "event"


@dataclass(frozen=True, slots=True)
class NewEvent:
    object_id: int
    data: Mapping[str, Any]
    user_id: int | None = None


#: Events and their jobs in one round trip, however many.
_ADD = text(f"""
    WITH added AS (
        INSERT INTO events (type, object_id, user_id, data, request_id, traceparent)
        SELECT :type, object_id, user_id, CAST(data AS jsonb), :request_id, :traceparent
        FROM unnest(:object_ids, :user_ids, :datas) WITH ORDINALITY
            AS given (object_id, user_id, data, position)
        ORDER BY position
        RETURNING id
    ),
    {jobs.queued_from("added", KIND, "json_build_object('event_id', id)")}
    SELECT id FROM added ORDER BY id
""").bindparams(
    *(bindparam(name, type_=Text) for name in ("type", "request_id", "traceparent", "headers")),
    *(bindparam(name, type_=ARRAY(BigInteger)) for name in ("object_ids", "user_ids")),
    bindparam("datas", type_=ARRAY(Text)),
)


async def add(
    session: Session,
    event_type: EventType,
    *,
    object_id: int,
    data: Mapping[str, Any],
    user_id: int | None = None,
) -> int:
    """It has happened, if this transaction is committed: then all who want to know will be told.

    `data` is the object as an administrator may see it, with its version, and amounts as text. Whoever
    sends it on shortens it (service/webhooks/deliveries/payloads.py).
    """
    return (await add_each(session, event_type, [NewEvent(object_id, data, user_id)]))[0]


async def add_each(session: Session, event_type: EventType, events: Sequence[NewEvent]) -> list[int]:
    """The same for many objects, in one statement; the events' ids in this order."""
    if not events:
        return []
    origin = jobs.origin()
    values = {
        "type": event_type,
        "request_id": origin.get("request_id"),
        "traceparent": origin.get("traceparent"),
        "headers": json.dumps(origin),
        "object_ids": [event.object_id for event in events],
        "user_ids": [event.user_id for event in events],
        "datas": [json.dumps(event.data) for event in events],
    }
    ids = list((await session.scalars(_ADD, values)).all())
    after_commit(session, lambda: metrics.events_raised(event_type, len(ids)))
    return ids


async def get(session: Session, event_id: int) -> Record | None:
    statement = select(*Event.__table__.columns).where(Event.id == event_id)
    row: Record | None = (await session.execute(statement)).one_or_none()
    return row


async def purge(session: Session, kept: timedelta, *, most: int) -> int:
    """Delete at most so many events that happened longer ago than that; how many they were."""
    old = select(Event.id).where(Event.occurred_at < func.now() - kept).limit(most)
    gone = delete(Event).where(Event.id.in_(old)).returning(Event.id)
    return len((await session.scalars(gone)).all())
