"""Replays: asked for by administrators, made part by part by the worker."""

import asyncio
from datetime import timedelta
from typing import Any, Final

import structlog

from service import audit, events
from service.errors import Unprocessable
from service.events import EVENT_TYPES, EventType
from service.identity import Caller, reauthorize
from service.platform.database import Database, Record, Session
from service.platform.jobs import queue as jobs
from service.platform.jobs.kinds import Attempt
from service.webhooks import repository as webhooks
from service.webhooks.errors import WebhookInactive, WebhookNotFound
from service.webhooks.models import EVERY_EVENT
from service.webhooks.replays import repository as replays
from service.webhooks.replays.schemas import Replay, ReplayCreate

log = structlog.get_logger(__name__)

KIND: Final = "webhook_replay"
#: Events in one transaction.
BATCH: Final = 200
#: While so many deliveries of the webhook are pending, no more are queued.
MOST_PENDING: Final = 500
PAUSE: Final = timedelta(seconds=5)


async def begin(session: Session, caller: Caller, webhook_id: int, asked: ReplayCreate) -> Replay:
    """Raises PositionUnknown where events of the range are not there any more."""
    await reauthorize(session, caller)
    webhook = await webhooks.get(session, webhook_id, lock=True)
    if webhook is None:
        raise WebhookNotFound
    if not webhook.is_active:
        raise WebhookInactive("This webhook is not active. Set `is_active` to true first.")
    types = _types(webhook, asked.types)
    events.require_may_read(caller, types, "types")
    after = events.decode_position(asked.after)
    until = await events.get_end(session) if asked.until is None else events.decode_position(asked.until)
    for place in (after, until):
        await events.require_known(session, place)
    if until < after:
        raise Unprocessable.at("/until", "`until` is before `after`: swap them.", "empty_range")
    replay = Replay(
        webhook_id=webhook_id,
        after=events.encode_position(after),
        until=events.encode_position(until),
        types=types,
    )
    await jobs.enqueue(session, KIND, replay.model_dump())
    data = replay.model_dump(exclude={"webhook_id"})
    await audit.record(
        session, "webhook.replayed", by=caller, target_kind="webhook", target_id=webhook_id, data=data
    )
    return replay


def _types(webhook: Record, asked: list[EventType] | None) -> list[EventType]:
    """In their usual order. Raises Unprocessable for one that the webhook does not get."""
    subscribed = set(EVENT_TYPES if EVERY_EVENT in webhook.events else webhook.events)
    if asked is not None and not subscribed.issuperset(asked):
        raise Unprocessable.at(
            "/types",
            "The webhook does not get all of these types: add them to its `events`.",
            "unknown_value",
        )
    return [each for each in EVENT_TYPES if each in (subscribed if asked is None else asked)]


async def run(database: Database, attempt: Attempt) -> None:
    """The handler of a replay's job: queue the deliveries of one part, and a job for the next.

    A worker that is killed in between may queue a part twice. Receivers know an event by its id.
    """
    replay = Replay.model_validate(attempt.payload)
    async with database.transaction() as session:
        webhook = await webhooks.get(session, replay.webhook_id)
        if webhook is None or not webhook.is_active:
            log.warning("webhook.replay_stopped", webhook_id=replay.webhook_id)
            return
        if await replays.count_pending(session, replay.webhook_id, most=MOST_PENDING) >= MOST_PENDING:
            await jobs.enqueue(session, KIND, attempt.payload, delay=PAUSE)
            return
        after, until = map(events.decode_position, (replay.after, replay.until))
        part = await events.read(session, after, until, replay.types, limit=BATCH)
        if part.events:
            bodies = [await _body(event) for event in part.events]
            await replays.add(session, replay.webhook_id, part.events, bodies)
        if part.more:
            rest: dict[str, Any] = {**attempt.payload, "after": events.encode_position(part.end)}
            await jobs.enqueue(session, KIND, rest)
        else:
            log.info("webhook.replay_queued", webhook_id=replay.webhook_id)


async def _body(event: Record) -> bytes:
    # What else the worker does has its turn in between: to shorten one may take a while.
    await asyncio.sleep(0)
    return events.payload_of_json(event.type, event.occurred_at, event.data)
