"""What changes of stock mean: what the public sees of it, and whether it has run low."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from service.catalogue.schemas import Availability, MovementKind
from service.events import NewEvent
from service.notifications import NewNotification
from service.platform.database import Record


@dataclass(frozen=True, slots=True)
class Low:
    """An item whose stock falls to its reorder level, and was not notified of within the last hour: ordering
    and cancelling in a loop would notify each time.
    """

    item: Record
    quantity: int
    availability: Availability
    version: int

    @property
    def event(self) -> NewEvent:
        item = self.item
        data = {
            "id": item.id,
            "sku": item.sku,
            "name": item.name,
            "availability": self.availability,
            "quantity": self.quantity,
            "reorder_level": item.reorder_level,
            "version": self.version,
        }
        return NewEvent("item.low_stock", item.id, data)

    @property
    def notification(self) -> NewNotification:
        """For administrators."""
        item = self.item
        return NewNotification(
            user_id=None,
            kind="item.low_stock",
            title=f"{item.name} is running low",
            body=f"{self.quantity} left, reorder level {item.reorder_level}.",
            data={"item_id": item.id, "sku": item.sku, "quantity": self.quantity},
        )


@dataclass(frozen=True, slots=True)
class Movements:
    """Changes of stock, and what follows from them. `shown`: what the public sees, where that changes."""

    parameters: Mapping[str, Any]
    shown: Mapping[int, Availability]
    low: Sequence[Low]

    @classmethod
    def of(
        cls,
        items: Sequence[Record],
        deltas: Mapping[int, int],
        *,
        kind: MovementKind,
        reason: str,
        actor_id: int | None,
        order_id: int | None = None,
    ) -> Self:
        """`deltas` by item id, none of them 0. The items are locked, and none of them falls below 0."""
        shown: dict[int, Availability] = {}
        low = []
        for item in items:
            level, before, quantity = item.reorder_level, item.quantity, item.quantity + deltas[item.id]
            availability = _availability(quantity, level)
            if availability != item.availability:
                shown[item.id] = availability
            if before > level >= quantity and not item.notified_lately:
                low.append(Low(item, quantity, availability, item.version + (item.id in shown)))
        parameters = {
            "stock_item_ids": list(deltas),
            "stock_deltas": list(deltas.values()),
            "stock_low_ids": [each.item.id for each in low],
            "stock_shown_ids": list(shown),
            "stock_availabilities": list(shown.values()),
            "stock_kind": kind,
            "stock_reason": reason,
            "stock_order_id": order_id,
            "stock_actor_id": actor_id,
        }
        return cls(parameters, shown, low)


def _availability(quantity: int, reorder_level: int) -> Availability:
    """As models.AVAILABILITY has it."""
    if quantity == 0:
        return "out_of_stock"
    return "low_stock" if quantity <= reorder_level else "in_stock"
