"""Stock in batches: counted anew or moved, of all items or of none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service import audit, events, notifications
from service.catalogue import history
from service.catalogue.batch_faults import refuse
from service.catalogue.errors import OutOfStock
from service.catalogue.history import ItemChange
from service.catalogue.schemas import MAX_STOCK, Availability
from service.catalogue.stock.movements import Low, availability_of, low_stock
from service.catalogue.stock_batch import repository as batch
from service.catalogue.stock_batch.repository import Movement
from service.catalogue.stock_batch.schemas import StockResult, StockRow
from service.errors import FieldFault, KeyRequired
from service.identity import AnyCaller, reauthorize
from service.platform.database import Record, Session

Values = Mapping[str, Any]


@dataclass(slots=True)
class Plan:
    """What is to be done, by item id."""

    by_id: Mapping[int, Record]
    by_sku: Mapping[str, Record]
    #: The items in the order of their rows.
    items: dict[int, Record] = field(default_factory=dict)
    movements: dict[int, Movement] = field(default_factory=dict)
    shown: dict[int, Availability] = field(default_factory=dict)
    low: list[Low] = field(default_factory=list)
    faults: list[FieldFault] = field(default_factory=list)
    #: Items of which more would go than there are, as OutOfStock has them.
    short: list[Values] = field(default_factory=list)

    def add(self, place: int, values: Values) -> None:
        found = list(_contradictions(values))
        if found:
            self.faults += [FieldFault(f"/{place}/{name}", *fault) for name, fault in found]
            return
        name = "item_id" if "item_id" in values else "sku"
        item = self.by_id.get(values[name]) if name == "item_id" else self.by_sku.get(values[name])
        if item is None:
            detail = "No item has this id or SKU: correct it."
            self.faults.append(FieldFault(f"/{place}/{name}", detail, "unknown_product"))
        elif item.id in self.items:
            detail = "Another row has this item: send each item once."
            self.faults.append(FieldFault(f"/{place}/{name}", detail, "duplicate"))
        else:
            self.items[item.id] = item
            self._move(place, item, values)

    def _move(self, place: int, item: Record, values: Values) -> None:
        delta = values.get("delta", 0)
        quantity = values.get("stock", item.quantity + delta)
        level = values.get("reorder_level", item.reorder_level)
        if quantity < 0:
            detail = f"Only {item.quantity} units are in stock: remove no more than that."
            self.faults.append(FieldFault(f"/{place}/delta", detail, OutOfStock.code))
            self.short.append(
                {"product_id": item.id, "name": item.name, "requested": -delta, "left": item.quantity}
            )
        elif quantity > MAX_STOCK:
            detail = f"The stock would be above {MAX_STOCK}: add fewer units."
            self.faults.append(FieldFault(f"/{place}/delta", detail, "too_large"))
        elif (quantity, level) != (item.quantity, item.reorder_level):
            self._record(item, Movement(quantity - item.quantity, level, values["reason"]))

    def _record(self, item: Record, movement: Movement) -> None:
        self.movements[item.id] = movement
        quantity = item.quantity + movement.delta
        availability = availability_of(quantity, movement.reorder_level)
        if availability != item.availability:
            self.shown[item.id] = availability
        if low := low_stock(item, quantity, movement.reorder_level):
            self.low.append(low)


def _contradictions(values: Values) -> list[tuple[str, tuple[str, str]]]:
    """What is wrong with a row by itself: a field, the detail and the code."""
    found = []
    if "sku" not in values and "item_id" not in values:
        found.append(("sku", ("Name the item: send `sku` or `item_id`.", "missing")))
    elif "sku" in values and "item_id" in values:
        found.append(
            ("item_id", ("`sku` and `item_id` exclude each other: send one of them.", "contradiction"))
        )
    if "stock" in values and "delta" in values:
        found.append(
            ("delta", ("`stock` and `delta` exclude each other: send one of them.", "contradiction"))
        )
    elif not values.keys() & {"stock", "delta", "reorder_level"}:
        found.append(("stock", ("Send `stock`, `delta` or `reorder_level`.", "missing")))
    return found


async def put(
    session: Session, rows: Sequence[StockRow], *, has_key: bool, by: AnyCaller
) -> list[StockResult]:
    """Raises KeyRequired, and Unprocessable or OutOfStock, which name every row that is refused."""
    given = [row.model_dump(exclude_unset=True) | {"reason": row.reason} for row in rows]
    if not has_key and any("delta" in values for values in given):
        raise KeyRequired(
            "Send the header Idempotency-Key with rows that have `delta`: a new value for each batch, such as"
            " a UUID, and the same value when you retry."
        )
    await reauthorize(session, by)
    locked = await batch.lock(
        session,
        [values["item_id"] for values in given if "item_id" in values],
        [values["sku"] for values in given if "sku" in values],
    )
    plan = Plan({item.id: item for item in locked}, {item.sku: item for item in locked})
    for place, values in enumerate(given):
        plan.add(place, values)
    refuse(plan.faults, OutOfStock, {"products": plan.short})
    if plan.movements:
        await _move(session, plan, by=by)
    return [_result(plan, item) for item in plan.items.values()]


async def _move(session: Session, plan: Plan, *, by: AnyCaller) -> None:
    low_ids = [low.item.id for low in plan.low]
    await batch.move(session, plan.movements, low_ids=low_ids, actor_id=by.user_id)
    shown = await batch.show(session, plan.shown)
    entries = {item_id: _entry(plan.items[item_id], each) for item_id, each in plan.movements.items()}
    await audit.record_each(session, "stock.adjusted", by=by, target_kind="item", targets=entries)
    for low in plan.low:
        await notifications.add(session, low.notification)
    if plan.low:
        await events.publish_new(session, [low.event for low in plan.low])
    # As where an item's reorder level is changed alone.
    levels = {item_id: plan.movements[item_id].reorder_level for item_id in shown}
    await history.publish_updated(
        session,
        [
            ItemChange(item, shown[item_id], item.reorder_level, levels[item_id])
            for item_id, item in plan.items.items()
            if item_id in shown and levels[item_id] != item.reorder_level
        ],
    )


def _entry(item: Record, movement: Movement) -> Mapping[str, Values]:
    """What the audit log says."""
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    if movement.delta:
        before["stock"], after["stock"] = item.quantity, item.quantity + movement.delta
    if movement.reorder_level != item.reorder_level:
        before["reorder_level"], after["reorder_level"] = item.reorder_level, movement.reorder_level
    return {"before": before, "after": after}


def _result(plan: Plan, item: Record) -> StockResult:
    movement = plan.movements.get(item.id)
    return StockResult(
        item_id=item.id,
        sku=item.sku,
        version=item.version + (item.id in plan.shown),
        quantity=item.quantity + (movement.delta if movement else 0),
        reorder_level=movement.reorder_level if movement else item.reorder_level,
        result="changed" if movement else "unchanged",
    )
