"""What is recorded of items that were created or changed: entries of the audit log, and events."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service import audit, events
from service.catalogue.schemas import Item
from service.events import EventType
from service.identity import AnyCaller
from service.platform.database import Record, Session

#: What the audit log says of a change; of a long text only that it is another.
AUDITED: Final = (
    "sku", "external_id", "name", "category", "is_active", "description", "images", "attributes",
    "metadata",
)  # fmt: skip
#: Metadata is private besides.
TOO_LONG: Final = ("description", "images", "attributes", "metadata")
#: Events that are written at a time: their documents, with descriptions of 10,000 characters, are megabytes.
EVENTS: Final = 250


@dataclass(frozen=True, slots=True)
class ItemChange:
    """An item before and after a change; the reorder level is stored with its stock."""

    before: Any
    after: Any
    level_before: int
    level_after: int


async def record_created(session: Session, made: Sequence[Record], *, by: AnyCaller | None) -> None:
    targets = {row.id: {"sku": row.sku, "price": str(row.price)} for row in made}
    await audit.record_each(session, "item.created", by=by, target_kind="item", targets=targets)


async def record_changed(session: Session, changes: Sequence[ItemChange], *, by: AnyCaller) -> None:
    by_action: dict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for change in changes:
        before = _audited(change.before, change.level_before)
        after = _audited(change.after, change.level_after)
        changed = [name for name in after if before[name] != after[name]]
        if changed:
            withdrawn = "is_active" in changed and not after["is_active"]
            by_action["item.withdrawn" if withdrawn else "item.changed"][change.after.id] = {
                "before": {name: before[name] for name in changed if name not in TOO_LONG},
                "after": {name: after[name] for name in changed if name not in TOO_LONG},
                "changed": changed,
            }
    for action, targets in by_action.items():
        await audit.record_each(session, action, by=by, target_kind="item", targets=targets)


def _audited(row: Any, reorder_level: int) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in AUDITED}
    return {**values, "price": str(row.price), "reorder_level": reorder_level}


async def publish(session: Session, event_type: EventType, rows: Sequence[Record]) -> None:
    """An event for each of these items."""
    for first in range(0, len(rows), EVENTS):
        items = Item.all_of(rows[first : first + EVENTS])
        await events.publish_each(session, event_type, [item.for_events() for item in items])


async def publish_updated(session: Session, changes: Sequence[ItemChange]) -> None:
    """An event for each whose version has changed."""
    changed = [change for change in changes if change.after.version != change.before.version]
    withdrawn = [change.before.is_active and not change.after.is_active for change in changed]
    types: tuple[tuple[EventType, bool], ...] = (("item.updated", False), ("item.withdrawn", True))
    for event_type, wanted in types:
        rows = [change.after for change, gone in zip(changed, withdrawn, strict=True) if gone is wanted]
        await publish(session, event_type, rows)
