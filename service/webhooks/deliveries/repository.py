"""Every statement on the deliveries of webhooks."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Interval,
    LargeBinary,
    Text,
    bindparam,
    case,
    delete,
    extract,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)

from service.platform.database import Record, Session
from service.platform.database.pagination import Page
from service.platform.jobs import queue as jobs
from service.webhooks.models import EVERY_EVENT, Webhook, WebhookDelivery

KIND: Final = "webhook"
PING: Final = "ping"

#: What clients see: the fields of the schema WebhookDelivery.
_SHOWN: Final = (
    "id", "event_id", "event_type", "message_id", "status", "attempts", "created_at", "next_try_at",
    "last_tried_at", "last_status", "fault", "duration_ms", "answer",
)  # fmt: skip
#: Statements of every delivery are text: building them each time takes longer than executing them.
_FAN_OUT: Final = text(f"""
    WITH added AS (
        INSERT INTO webhook_deliveries (webhook_id, event_id, event_type, user_id, message_id, body,
            next_try_at, request_id, traceparent)
        SELECT id, :event_id, :event_type, :user_id, :message_id, :body, now(), :request_id, :traceparent
        FROM webhooks WHERE is_active AND events && CAST(ARRAY[:event_type, '{EVERY_EVENT}'] AS text[])
        ORDER BY id
        ON CONFLICT (webhook_id, event_id) DO NOTHING
        RETURNING id, webhook_id
    ),
    {jobs.queued_from("added", KIND, "json_build_object('delivery_id', id, 'webhook_id', webhook_id)")}
    SELECT id FROM added ORDER BY id
""").bindparams(
    *(bindparam(name, type_=BigInteger) for name in ("event_id", "user_id")),
    *(bindparam(name, type_=Text) for name in ("event_type", "message_id", "request_id", "traceparent")),
    bindparam("body", type_=LargeBinary),
)
_CLAIM: Final = text(f"""
    UPDATE webhook_deliveries AS delivery
    SET attempts = attempts + 1, claimed_until = now() + :lease, last_tried_at = now(), waiting = false
    FROM webhooks
    WHERE delivery.id = :id AND webhooks.id = delivery.webhook_id
        AND status = 'pending' AND attempts < :most AND next_try_at <= now()
        AND (claimed_until IS NULL OR claimed_until <= now())
        AND (is_active OR event_type = '{PING}')
        AND (paused_until IS NULL OR paused_until <= now())
    RETURNING delivery.id, webhook_id, event_type, message_id, body, attempts, request_id, traceparent,
        CAST(extract(epoch FROM now()) AS bigint) AS tried_at,
        url, secret, CASE WHEN previous_until > now() THEN previous_secret END AS previous_secret
""").bindparams(bindparam("lease", type_=Interval))
_MARK_SUCCEEDED: Final = text("""
    WITH succeeded AS (
        UPDATE webhook_deliveries
        SET status = 'succeeded', last_status = :last_status, fault = NULL, duration_ms = :duration_ms,
            answer = :answer, next_try_at = NULL, claimed_until = NULL
        WHERE id = :id AND attempts = :attempts AND status = 'pending'
        RETURNING webhook_id
    )
    UPDATE webhooks SET failing_since = NULL, paused_until = NULL FROM succeeded
    WHERE id = webhook_id AND (failing_since IS NOT NULL OR paused_until IS NOT NULL)
""")
_columns = tuple(WebhookDelivery.__table__.columns[name] for name in _SHOWN)
_queued = tuple(
    WebhookDelivery.__table__.columns[name] for name in ("id", "webhook_id", "request_id", "traceparent")
)
_pending = WebhookDelivery.status == "pending"
_unclaimed = or_(WebhookDelivery.claimed_until.is_(None), WebhookDelivery.claimed_until <= func.now())
_allowed = or_(Webhook.is_active, WebhookDelivery.event_type == PING)


async def fan_out(session: Session, event: Record, message_id: str, body: bytes) -> list[int]:
    """Add a delivery and its job for each webhook that subscribes to the event, one at most; their ids."""
    values = {
        "event_id": event.id,
        "event_type": event.type,
        "user_id": event.user_id,
        "message_id": message_id,
        "body": body,
        "request_id": event.request_id,
        "traceparent": event.traceparent,
        "headers": jobs.origin(),
    }
    return await session.values(_FAN_OUT, values)


async def add_ping(
    session: Session, webhook_id: int, *, request_id: str | None, traceparent: str | None
) -> Record:
    """Add a delivery without an event, and without a body for now, which contains its id and its time."""
    values = {
        "webhook_id": webhook_id,
        "event_type": PING,
        "message_id": "",
        "body": b"",
        "next_try_at": func.now(),
        "request_id": request_id,
        "traceparent": traceparent,
    }
    added = (WebhookDelivery.id, WebhookDelivery.created_at)
    [row] = await session.rows(insert(WebhookDelivery).values(**values).returning(*added))
    return row


async def set_message(session: Session, delivery_id: int, message_id: str, body: bytes) -> Record | None:
    return await _change(session, delivery_id, {"message_id": message_id, "body": body})


async def find(session: Session, webhook_id: int, page: Page, *, status: str | None) -> list[Any]:
    """Deliveries of a webhook, newest first."""
    statement = select(*_columns).where(WebhookDelivery.webhook_id == webhook_id)
    if status is not None:
        statement = statement.where(WebhookDelivery.status == status)
    if page.after is not None:
        statement = statement.where(WebhookDelivery.id < page.after[0])
    statement = statement.order_by(WebhookDelivery.id.desc()).limit(page.fetch).offset(page.skip)
    return page.cut(await session.rows(statement), "id")


async def restart(session: Session, webhook_id: int, delivery_id: int) -> Record | None:
    """Make a delivery due now, with all its attempts left unless it is pending; None where there is none."""
    again = update(WebhookDelivery).where(
        WebhookDelivery.id == delivery_id, WebhookDelivery.webhook_id == webhook_id
    )
    attempts = case((_pending, WebhookDelivery.attempts), else_=0)
    values = {"status": "pending", "attempts": attempts, "next_try_at": func.now(), "waiting": False}
    return await session.one(again.values(**values).returning(*_columns))


async def get_state(session: Session, delivery_id: int) -> Record | None:
    """What decides whether an attempt may begin: the status, and the seconds that each bar still holds."""
    bars = {
        "until_due": WebhookDelivery.next_try_at,
        "until_unclaimed": WebhookDelivery.claimed_until,
        "until_unpaused": Webhook.paused_until,
    }
    left = [
        func.coalesce(extract("epoch", moment - func.now()), 0).label(name) for name, moment in bars.items()
    ]
    columns = (WebhookDelivery.webhook_id, WebhookDelivery.event_type, WebhookDelivery.attempts)
    statement = (
        select(*columns, WebhookDelivery.status, _allowed.label("allowed"), *left)
        .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        .where(WebhookDelivery.id == delivery_id)
    )
    return await session.one(statement)


async def claim(session: Session, delivery_id: int, lease: timedelta, most: int) -> Record | None:
    """Begin an attempt, which no other worker does during the lease; what to send, where, and signed by what.

    None where an attempt may not begin now, or `most` have been made. The attempt counts from here on, even
    if the worker is lost. One statement, which needs no transaction around it.
    """
    values = {"id": delivery_id, "lease": lease, "most": most}
    return await session.one(_CLAIM, values)


async def mark_succeeded(
    session: Session, delivery_id: int, attempts: int, *, status: int, duration_ms: int, answer: str
) -> None:
    """End a delivery and its webhook's failing. One statement, which needs no transaction around it."""
    values = {"id": delivery_id, "attempts": attempts, "last_status": status}
    await session.execute(_MARK_SUCCEEDED, {**values, "duration_ms": duration_ms, "answer": answer})


async def record_failure(
    session: Session, delivery_id: int, attempts: int, *, delay: timedelta | None, values: Mapping[str, Any]
) -> bool:
    """Write the result of an attempt; with a `delay` another follows. Whether it was still current."""
    following = func.now() + literal(delay, Interval) if delay is not None else None
    statement = (
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id, WebhookDelivery.attempts == attempts, _pending)
        .values(**values, next_try_at=following, claimed_until=None)
    )
    return bool(await session.execute(statement))


async def enqueue(
    session: Session,
    webhook_id: int,
    delivery_id: int,
    *,
    delay: timedelta = jobs.NOW,
    key: str | None = None,
    source: Mapping[str, str] | None = None,
) -> None:
    """Add a job that makes an attempt; the options are those of any job."""
    payload = {"delivery_id": delivery_id, "webhook_id": webhook_id}
    await jobs.enqueue(session, KIND, payload, delay=delay, key=key, source=source)


async def mark_waiting(session: Session, delivery_id: int) -> None:
    """Until `take_waiting`, when another delivery of the webhook ends."""
    # One that waits already is not written again: meanwhile `take_waiting` would skip it as locked.
    new = (WebhookDelivery.id == delivery_id, _pending, ~WebhookDelivery.waiting)
    await session.execute(update(WebhookDelivery).where(*new).values(waiting=True))


async def postpone(session: Session, delivery_id: int, delay: timedelta) -> None:
    await _change(session, delivery_id, {"next_try_at": func.now() + delay})


async def fail(session: Session, delivery_id: int, fault: str) -> None:
    values = {"status": "failed", "fault": fault, "next_try_at": None, "claimed_until": None}
    await _change(session, delivery_id, {**values, "waiting": False})


async def fail_pending(session: Session, webhook_id: int, fault: str) -> None:
    """Fail all pending deliveries of a webhook but those that a worker is attempting."""
    values = {"status": "failed", "fault": fault, "next_try_at": None, "waiting": False}
    statement = update(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id, _pending, _unclaimed)
    await session.execute(statement.values(**values))


async def take_waiting(session: Session, webhook_id: int, most: int) -> Sequence[Record]:
    """The first deliveries that wait, which do so no longer; the caller queues them."""
    first = (
        select(WebhookDelivery.id)
        .where(WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.waiting)
        .order_by(WebhookDelivery.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    statement = update(WebhookDelivery).where(WebhookDelivery.id.in_(first)).values(waiting=False)
    return await session.rows(statement.returning(*_queued))


async def find_overdue(session: Session, overdue: timedelta, most: int) -> Sequence[Record]:
    """Deliveries that have been due for long, at most so many of one webhook: their jobs are lost."""
    turn = func.row_number().over(partition_by=WebhookDelivery.webhook_id, order_by=WebhookDelivery.id)
    due = (
        select(*_queued, turn.label("turn"))
        .where(_pending, WebhookDelivery.next_try_at < func.now() - overdue, _unclaimed)
        .subquery()
    )
    return await session.rows(select(due).where(due.c.turn <= most).order_by(due.c.id))


async def purge(session: Session, kept: timedelta, *, most: int) -> int:
    """Delete at most so many that were created longer ago than that and have ended; how many those were."""
    old = (
        select(WebhookDelivery.id)
        .where(WebhookDelivery.created_at < func.now() - kept, ~_pending)
        .limit(most)
    )
    return await session.execute(delete(WebhookDelivery).where(WebhookDelivery.id.in_(old)))


async def _change(session: Session, delivery_id: int, values: Mapping[str, Any]) -> Record | None:
    """None where the delivery has been deleted meanwhile, with its webhook."""
    statement = update(WebhookDelivery).where(WebhookDelivery.id == delivery_id).values(**values)
    return await session.one(statement.returning(*_columns))
