"""The catalogue: what is for sale, and what it costs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from service import audit, events
from service.catalogue import repository as items
from service.catalogue.errors import ItemNotFound, SkuTaken
from service.catalogue.schemas import Item, ItemCreate, ItemPatch
from service.catalogue.search import search as ranked
from service.catalogue.stock import repository as stock
from service.errors import FieldFault, Unprocessable
from service.identity import AnyCaller, reauthorize
from service.platform.database import Record, Session
from service.platform.database import sequenced_changes as changes
from service.platform.database.pagination import Page
from service.platform.http.etag.versions import Versions, require

#: What `null` removes; in the database it is then the empty text.
REMOVABLE = ("description", "category")
#: What the audit log says of a change; of a long text only that it is another.
AUDITED = ("sku", "name", "category", "is_active", "description")
TOO_LONG = ("description",)


def _sees_withdrawn(caller: AnyCaller | None) -> bool:
    return caller is not None and caller.may("catalogue:write")


async def find(
    session: Session,
    caller: AnyCaller | None,
    page: Page,
    filters: items.Filters,
    *,
    search: str | None,
    sort: str | None,
) -> list[Any]:
    """Documents of items: sorted, or with `search` ranked, best match first.

    With nothing but `updated_since` to go by, they come in the order of their changes.
    """
    low, high = filters.min_price, filters.max_price
    if low is not None and high is not None and low > high:
        raise Unprocessable.at("?min_price", "`min_price` is above `max_price`.", "empty_range")
    withdrawn, since = _sees_withdrawn(caller), filters.updated_since
    if since is not None and sort is None and search is None:
        return await items.find_changed(session, page, since, filters, withdrawn=withdrawn)
    if since is not None:
        await changes.sequence(session)
    if search is None:
        return await items.find(session, page, filters, sort=sort or "id", withdrawn=withdrawn)
    if sort is not None:
        raise Unprocessable.at(
            "?sort", "Search results are ordered by relevance: leave `sort` out.", "sort_with_search"
        )
    return await ranked(session, page, filters, search, withdrawn=withdrawn)


async def find_removed(
    session: Session, caller: AnyCaller | None, page: Page, updated_since: datetime
) -> list[Any]:
    return await items.find_removed(session, page, updated_since, withdrawn=_sees_withdrawn(caller))


async def get_document(session: Session, caller: AnyCaller | None, item_id: int) -> Record:
    """The item as it is sent."""
    row = await items.get_document(session, item_id, withdrawn=_sees_withdrawn(caller))
    if row is None:
        raise ItemNotFound
    return row


async def create(session: Session, new: ItemCreate, *, by: AnyCaller | None) -> Item:
    """Raises SkuTaken. The stock it starts with is the first entry of its ledger.

    `by` is None where items are imported: those have been there before, and are no event.
    """
    [made] = await _add(session, [new], by)
    if made is None:
        raise _sku_taken("/sku")
    item = Item.of(made)
    await _announce_created(session, [item], by)
    return item


async def create_batch(session: Session, new: Sequence[ItemCreate], *, by: AnyCaller | None) -> list[Item]:
    """Create all or none. Raises SkuTaken, which names each item whose SKU is taken, in the batch too."""
    made = await _add(session, new, by)
    taken = [f"/{position}/sku" for position, row in enumerate(made) if row is None]
    if taken:
        raise _sku_taken(*taken)
    created = Item.all_of(made)
    await _announce_created(session, created, by)
    return created


async def _announce_created(session: Session, created: Sequence[Item], by: AnyCaller | None) -> None:
    if by is not None:
        await events.publish_each(session, "item.created", [item.model_dump(mode="json") for item in created])


async def _add(session: Session, new: Sequence[ItemCreate], by: AnyCaller | None) -> Sequence[Record | None]:
    await reauthorize(session, by)
    made = await items.add(session, [_values(item) for item in new], actor_id=by.user_id if by else None)
    targets = {row.id: {"sku": row.sku, "price": str(row.price)} for row in made if row}
    await audit.record_each(session, "item.created", by=by, target_kind="item", targets=targets)
    return made


def _values(new: ItemCreate) -> items.New:
    return items.New(
        sku=new.sku,
        name=new.name,
        description=new.description or "",
        category=new.category or "",
        price=new.price,
        is_active=new.is_active,
        quantity=new.stock,
        reorder_level=new.reorder_level,
    )


def _sku_taken(*pointers: str) -> SkuTaken:
    detail = "Another item has this SKU: send a different one."
    faults = tuple(FieldFault(pointer, detail, SkuTaken.code) for pointer in pointers)
    return SkuTaken(
        detail if len(pointers) == 1 else "Other items have these SKUs: send different ones.", errors=faults
    )


async def change(
    session: Session, item_id: int, patch: ItemPatch, *, by: AnyCaller, expected: Versions | None = None
) -> Item:
    """Update an item. The reorder level is stored with the stock, and may change the availability."""
    await reauthorize(session, by)
    values = patch.model_dump(exclude_unset=True)
    values |= {name: values[name] or "" for name in REMOVABLE if name in values}
    locked = await stock.lock(session, [item_id])
    if not locked:
        raise ItemNotFound
    require(expected, locked[0])
    level = locked[0].reorder_level
    old = await items.get(session, item_id)
    before = _audited_values(old, level)
    if "reorder_level" in values:
        level = values.pop("reorder_level")
        await stock.set_reorder_level(session, item_id, level)
    if not await items.change(session, item_id, values):
        raise _sku_taken("/sku")
    row = await items.get(session, item_id)
    await _record_change(session, by, item_id, before, _audited_values(row, level))
    item = Item.of(row)
    if old is not None and old.version != item.version:
        await events.publish(session, "item.updated", object_id=item_id, data=item.model_dump(mode="json"))
    return item


def _audited_values(row: Any, reorder_level: int) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in AUDITED}
    return {**values, "price": str(row.price), "reorder_level": reorder_level}


async def _record_change(
    session: Session, by: AnyCaller, item_id: int, before: dict[str, Any], after: dict[str, Any]
) -> None:
    changed = [name for name in after if before[name] != after[name]]
    if not changed:
        return
    data = {
        "before": {name: before[name] for name in changed if name not in TOO_LONG},
        "after": {name: after[name] for name in changed if name not in TOO_LONG},
        "changed": changed,
    }
    action = "item.withdrawn" if "is_active" in changed and not after["is_active"] else "item.changed"
    await audit.record(session, action, by=by, target_kind="item", target_id=item_id, data=data)


async def withdraw(
    session: Session, item_id: int, *, by: AnyCaller, expected: Versions | None = None
) -> None:
    """Withdraw the item from sale; nothing happens if it is withdrawn already. Past orders keep it."""
    await change(session, item_id, ItemPatch(is_active=False), by=by, expected=expected)
