"""Events of changed stock. The worker publishes them every second, for an item once however often its stock
has changed: an order need not, and is as quick without (docs/adr/0051).
"""

from typing import Final

from service import events
from service.catalogue.stock import repository as stock
from service.events import BEGINNING, NewEvent
from service.platform.database import Database, Record, Session

MARK: Final = "stock"
#: Items in one transaction.
BATCH: Final = 500
_SHOWN: Final = ("id", "sku", "name", "availability", "quantity", "reorder_level", "version")


async def publish_all(database: Database) -> None:
    """Of all changes that have their places."""
    more = True
    while more:
        async with database.transaction() as session:
            more = await _publish(session)


async def _publish(session: Session) -> bool:
    """Whether more may follow."""
    mark = await events.lock_mark(session, MARK)
    if mark is None or await stock.has_backfill(session):
        # What was there before is no change.
        await events.set_mark(session, MARK, await stock.get_last_change(session) or BEGINNING)
        return False
    changed = await stock.find_changed(session, mark, BATCH)
    if changed:
        await events.publish_new(session, [_event(row) for row in changed if row.id is not None])
        await events.set_mark(session, MARK, changed[-1].place)
    return len(changed) == BATCH


def _event(row: Record) -> NewEvent:
    return NewEvent("stock.changed", row.id, {name: row[name] for name in _SHOWN})
