"""What follows from an event: each consumer is given it, all in one transaction."""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from service.events import metrics
from service.events import repository as events
from service.platform.database import Database, Record, Session
from service.platform.jobs.kinds import Attempt

log = structlog.get_logger(__name__)

#: It may be given an event twice, and acts once for each, by its id.
Consumer = Callable[[Session, Record], Awaitable[object]]


class FanOut:
    """The handler of an event's job. Which consumers there are the composition root says."""

    def __init__(self, database: Database, consumers: Sequence[Consumer]) -> None:
        self._database, self._consumers = database, consumers

    async def run(self, attempt: Attempt) -> None:
        event_id = attempt.payload["event_id"]
        async with self._database.transaction() as session:
            event = await events.get(session, event_id)
            if event is None:
                # Purged before its job could run: too old for any consumer.
                log.warning("event.missed", event_id=event_id)
                return
            for consumer in self._consumers:
                await consumer(session, event)
        metrics.event_handed_on(event.type)
