"""Every statement on events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import CTE, BigInteger, Text, bindparam, column, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.events import metrics
from service.events.models import Event, EventType
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
_id = EVENTS[0].c.id
_ADD: Final = select(_id).add_cte(*EVENTS).order_by(_id)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """`data` is the object as an administrator may see it, with its version, and amounts as text: webhooks
    shorten it (service/webhooks/deliveries/payloads.py).
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
    statement = select(*Event.__table__.columns).where(Event.id == event_id)
    return await session.one(statement)


async def purge(session: Session, kept: timedelta, *, most: int) -> int:
    """Delete at most so many events that happened longer ago than that; how many they were."""
    old = select(Event.id).where(Event.occurred_at < func.now() - kept).limit(most)
    return await session.execute(delete(Event).where(Event.id.in_(old)))
