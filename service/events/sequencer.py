"""What the worker does every second: it gives all that was committed its place (docs/adr/0051)."""

from service.events import metrics
from service.events import repository as events
from service.platform.database import Database


async def sequence_all(database: Database) -> None:
    async with database.reading() as session:
        metrics.sequencer_lag(await events.get_lag(session))
    given = events.BATCH
    while given >= events.BATCH:
        async with database.reading() as session:
            given = await events.sequence(session)
