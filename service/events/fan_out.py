"""What an event sets off: each of its consumers hears of it, in one transaction for all."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog

from service.events import repository as events
from service.orders import emails
from service.platform.database import Record, Session
from service.platform.telemetry import job_metrics
from service.webhooks.deliveries import service as deliveries
from service.worker_container import Attempt, WorkerParts

log = structlog.get_logger(__name__)

Consumer = Callable[[Session, Record], Awaitable[object]]
#: An event may be told twice: whoever writes does so once for each, by its id.
CONSUMERS: Final[tuple[Consumer, ...]] = (emails.enqueue_for_event, deliveries.fan_out)


async def hand_on(parts: WorkerParts, payload: Mapping[str, Any], _: Attempt) -> None:
    async with parts.database.transaction() as session:
        event = await events.get(session, payload["event_id"])
        if event is None:
            # Purged before its job could run: it is older than anybody wants to hear of.
            log.warning("event.missed", event_id=payload["event_id"])
            return
        for consumer in CONSUMERS:
            await consumer(session, event)
    job_metrics.event_handed_on(event.type)
