"""Every statement on replays."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ARRAY, BigInteger, LargeBinary, Text, bindparam, func, literal, select, text

from service.platform.database import Record, Session
from service.platform.jobs import queue as jobs
from service.webhooks.deliveries.repository import KIND
from service.webhooks.models import WebhookDelivery

#: A delivery that has ended begins again; one that is pending stays as it is. Their jobs come after those of
#: events of now.
_ADD: Final = text(f"""
    WITH added AS (
        INSERT INTO webhook_deliveries AS known (webhook_id, event_id, event_type, user_id, message_id, body,
            next_try_at, request_id, traceparent)
        SELECT :webhook_id, event_id, event_type, user_id, 'evt_' || event_id, body, now(), request_id,
            traceparent
        FROM unnest(:event_ids, :event_types, :user_ids, :bodies, :request_ids, :traceparents) WITH ORDINALITY
            AS event (event_id, event_type, user_id, body, request_id, traceparent, position)
        ORDER BY position
        ON CONFLICT (webhook_id, event_id) DO UPDATE
            SET status = 'pending', attempts = 0, next_try_at = now(), waiting = false
            WHERE known.status <> 'pending'
        RETURNING id, webhook_id
    ),
    {
    jobs.queued_from(
        "added",
        KIND,
        "json_build_object('delivery_id', id, 'webhook_id', webhook_id)",
        priority="-1",
    )
}
    SELECT id FROM added ORDER BY id
""").bindparams(
    bindparam("webhook_id", type_=BigInteger),
    *(bindparam(name, type_=ARRAY(BigInteger)) for name in ("event_ids", "user_ids")),
    *(bindparam(name, type_=ARRAY(Text)) for name in ("event_types", "request_ids", "traceparents")),
    bindparam("bodies", type_=ARRAY(LargeBinary)),
)


async def add(
    session: Session, webhook_id: int, events: Sequence[Record], bodies: Sequence[bytes]
) -> list[Any]:
    """Add a delivery and its job for each event; the ids of those that were not pending already."""
    values = {
        "webhook_id": webhook_id,
        "event_ids": [event.id for event in events],
        "event_types": [event.type for event in events],
        "user_ids": [event.user_id for event in events],
        "request_ids": [event.request_id for event in events],
        "traceparents": [event.traceparent for event in events],
        "bodies": list(bodies),
        "headers": jobs.origin(),
    }
    return await session.values(_ADD, values)


async def count_pending(session: Session, webhook_id: int, *, most: int) -> int:
    """How many deliveries of the webhook are pending; counted up to `most`."""
    pending = select(literal(1)).where(
        WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.status == "pending"
    )
    count: int = await session.value(select(func.count()).select_from(pending.limit(most).subquery()))
    return count
