"""Every statement on events."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Text, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.events import metrics
from service.events.models import Event, EventType
from service.platform.database import Record, Session, after_commit
from service.platform.jobs import queue as jobs

#: The kind of job that hands an event to its consumers.
KIND: Final = "event"


#: Events and their jobs in one round trip, however many.
_ADD = text(f"""
    WITH added AS (
        INSERT INTO events (type, object_id, user_id, data, request_id, traceparent)
        SELECT :type, object_id, :user_id, data, :request_id, :traceparent
        FROM unnest(:object_ids, :datas) WITH ORDINALITY AS given (object_id, data, position)
        ORDER BY position
        RETURNING id
    ),
    {jobs.queued_from("added", KIND, "json_build_object('event_id', id)")}
    SELECT id FROM added ORDER BY id
""").bindparams(
    *(bindparam(name, type_=Text) for name in ("type", "request_id", "traceparent")),
    bindparam("user_id", type_=BigInteger),
    bindparam("object_ids", type_=ARRAY(BigInteger)),
    bindparam("datas", type_=ARRAY(JSONB)),
)


async def publish(
    session: Session,
    event_type: EventType,
    *,
    object_id: int,
    data: Mapping[str, Any],
    user_id: int | None = None,
) -> int:
    """Publish an event, if this transaction is committed; its id.

    `data` is the object as an administrator may see it, with its version, and amounts as text: webhooks
    shorten it (service/webhooks/deliveries/payloads.py).
    """
    return (await _add(session, event_type, [object_id], [data], user_id))[0]


async def publish_each(
    session: Session,
    event_type: EventType,
    objects: Sequence[Mapping[str, Any]],
    *,
    user_id: int | None = None,
) -> None:
    """The same for many objects, each with its `id`: in one statement, and in this order."""
    if objects:
        await _add(session, event_type, [each["id"] for each in objects], objects, user_id)


async def _add(
    session: Session,
    event_type: EventType,
    object_ids: Sequence[int],
    objects: Sequence[Mapping[str, Any]],
    user_id: int | None,
) -> list[int]:
    origin = jobs.origin()
    values = {
        "type": event_type,
        "user_id": user_id,
        "request_id": origin.get("request_id"),
        "traceparent": origin.get("traceparent"),
        "headers": origin,
        "object_ids": object_ids,
        "datas": list(objects),
    }
    ids = await session.values(_ADD, values)
    after_commit(session, lambda: metrics.EVENTS.labels(event_type, "raised").inc(len(ids)))
    return ids


async def get(session: Session, event_id: int) -> Record | None:
    statement = select(*Event.__table__.columns).where(Event.id == event_id)
    return await session.one(statement)


async def purge(session: Session, kept: timedelta, *, most: int) -> int:
    """Delete at most so many events that happened longer ago than that; how many they were."""
    old = select(Event.id).where(Event.occurred_at < func.now() - kept).limit(most)
    return await session.execute(delete(Event).where(Event.id.in_(old)))
