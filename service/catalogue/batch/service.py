"""Items in batches, by their SKUs: created or changed, all or none.

An upload of what is there already changes nothing, however often it comes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from service.catalogue import history, product_page
from service.catalogue import repository as items
from service.catalogue.batch import repository as batch
from service.catalogue.batch.schemas import ItemResult, ItemRow, Outcome
from service.catalogue.batch_faults import refuse
from service.catalogue.errors import VersionConflict
from service.catalogue.history import ItemChange
from service.catalogue.schemas import ItemCreate
from service.catalogue.service import given, repeated, to_add
from service.catalogue.stock.movements import availability_of
from service.errors import Contention, ExternalIdTaken, FieldFault, Unprocessable
from service.identity import AnyCaller, reauthorize
from service.platform.database import Record, Session

#: What an item cannot be created without.
NEEDED = ("name", "price")


@dataclass(slots=True)
class Plan:
    """What is to be done, by the places of rows and the ids of items."""

    #: The items that exist, by SKU, as they were.
    known: Mapping[str, Record]
    #: The ids of the items that have the external ids of the rows.
    holders: Mapping[str, int] = field(default_factory=dict)
    new: dict[int, items.New] = field(default_factory=dict)
    values: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    levels: dict[int, int] = field(default_factory=dict)
    faults: list[FieldFault] = field(default_factory=list)
    conflicts: list[Mapping[str, int | None]] = field(default_factory=list)

    def add(self, place: int, row: ItemRow) -> None:
        known, values = self.known.get(row.sku), given(row)
        sku, version = values.pop("sku"), values.pop("version", None)
        holder_id = self.holders.get(values.get("external_id") or "")
        if holder_id is not None and (known is None or known.id != holder_id):
            self.faults.append(ExternalIdTaken.fault("item", holder_id, f"/{place}/external_id"))
        if version is not None and (known is None or known.version != version):
            self._refuse_version(place, known)
        elif known is not None:
            self._change(place, known, values)
        else:
            self._create(place, {"sku": sku, **values})

    def _refuse_version(self, place: int, known: Record | None) -> None:
        current = None if known is None else known.version
        detail = (
            "No item has this SKU: leave `version` out to create it."
            if known is None
            else f"The item has version {current}: read it again, and apply your change to that version."
        )
        self.faults.append(FieldFault(f"/{place}/version", detail, VersionConflict.code))
        item_id = None if known is None else known.id
        self.conflicts.append({"row": place, "item_id": item_id, "version": current})

    def _change(self, place: int, known: Record, values: dict[str, Any]) -> None:
        try:
            values |= product_page.changed(known, values)
        except Unprocessable as refusal:
            self.faults += [replace(each, pointer=f"/{place}{each.pointer}") for each in refusal.errors]
            return
        level = values.pop("reorder_level", known.reorder_level)
        before = batch.values_of(known)
        after = {**before, **values, "availability": availability_of(known.quantity, level)}
        if after != before:
            self.values[known.id] = after
        if level != known.reorder_level:
            self.levels[known.id] = level

    def _create(self, place: int, values: dict[str, Any]) -> None:
        missing = [name for name in NEEDED if name not in values]
        for name in missing:
            detail = "No item has this SKU, and a new one needs this field: send it."
            self.faults.append(FieldFault(f"/{place}/{name}", detail, "missing"))
        if not missing:
            self.new[place] = to_add(ItemCreate.model_construct(**values))


async def put(session: Session, rows: Sequence[ItemRow], *, by: AnyCaller) -> list[ItemResult]:
    """Raises Unprocessable or VersionConflict, which name every row that is refused."""
    await reauthorize(session, by)
    named = [row.external_id for row in rows if row.external_id is not None]
    plan = Plan(
        await batch.lock(session, [row.sku for row in rows]),
        await items.get_ids_by_external_id(session, named) if named else {},
    )
    plan.faults += repeated([row.external_id for row in rows])
    seen: set[str] = set()
    for place, row in enumerate(rows):
        if row.sku in seen:
            detail = "Another row has this SKU: send each item once."
            plan.faults.append(FieldFault(f"/{place}/sku", detail, "duplicate"))
        else:
            seen.add(row.sku)
            plan.add(place, row)
    taken = [fault.code for fault in plan.faults] == [ExternalIdTaken.code] * len(plan.faults)
    if plan.faults and taken:
        holder_id = next(plan.holders[each] for each in named if each in plan.holders)
        refuse(plan.faults, ExternalIdTaken, {"id": holder_id})
    refuse(plan.faults, VersionConflict, {"conflicts": plan.conflicts})
    made = await _create(session, plan, by=by)
    changed = await _change(session, plan, by=by)
    return [_result(made.get(place), row.sku, plan, changed) for place, row in enumerate(rows)]


async def _create(session: Session, plan: Plan, *, by: AnyCaller) -> dict[int, Record]:
    """The new items by the places of their rows."""
    if not plan.new:
        return {}
    added = await items.add(session, list(plan.new.values()), actor_id=by.user_id)
    made = [row for row in added if row is not None]
    if len(made) < len(added):
        # Committed after the items were locked. Run again, this request finds them.
        raise Contention("Another request has just created some of these items. Send this one again.")
    await history.record_created(session, made, by=by)
    await history.publish(session, "item.created", made)
    return dict(zip(plan.new, made, strict=True))


async def _change(session: Session, plan: Plan, *, by: AnyCaller) -> dict[int, Record]:
    """The changed items by id; those whose reorder level has changed are there too."""
    await batch.set_reorder_levels(session, plan.levels)
    shown = await batch.change(session, plan.values)
    changes = [
        ItemChange(known, shown.get(known.id, known), known.reorder_level, level)
        for known in plan.known.values()
        if (level := plan.levels.get(known.id, known.reorder_level)) != known.reorder_level
        or known.id in shown
    ]
    await history.record_changed(session, changes, by=by)
    await history.publish_updated(session, changes)
    return {change.after.id: change.after for change in changes}


def _result(made: Record | None, sku: str, plan: Plan, changed: Mapping[int, Record]) -> ItemResult:
    if made is not None:
        return ItemResult(id=made.id, sku=sku, version=made.version, result="created")
    known = plan.known[sku]
    outcome: Outcome = "changed" if known.id in changed else "unchanged"
    version = changed.get(known.id, known).version
    return ItemResult(id=known.id, sku=sku, version=version, result=outcome)
