"""The catalogue: what is for sale, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from service.catalogue import history, product_page
from service.catalogue import repository as items
from service.catalogue.attributes import repository as attributes
from service.catalogue.errors import ItemNotFound, SkuTaken
from service.catalogue.filters import Filters
from service.catalogue.history import ItemChange
from service.catalogue.schemas import Item, ItemCreate, ItemPatch
from service.catalogue.search import search as ranked
from service.catalogue.stock import repository as stock
from service.errors import (
    ExternalIdTaken,
    FieldFault,
    Forbidden,
    InsufficientScope,
    ServiceError,
    Unauthenticated,
    Unprocessable,
)
from service.identity import AnyCaller, KeyCaller, reauthorize
from service.platform.database import Record, Session
from service.platform.database import sequenced_changes as changes
from service.platform.database.pagination import Page
from service.platform.http.etag.versions import Versions, require
from service.platform.http.merge_patch import merged, stored

#: What `null` removes; in the database it is then the empty text.
REMOVABLE = ("description", "category")


def is_staff(caller: AnyCaller | None) -> bool:
    """Whether the caller sees withdrawn items, and the members of items that only staff gets."""
    return caller is not None and caller.may("catalogue:read")


async def require_staff(_: Session, caller: AnyCaller | None, __: object) -> None:
    """Raises the reason against a caller who may not look for external ids or metadata, as `find` does."""
    if is_staff(caller):
        return
    if caller is None:
        raise Unauthenticated(
            "Only staff may look for external ids and metadata: sign in, or leave out `external_id` and"
            " `metadata`."
        )
    if isinstance(caller, KeyCaller):
        raise InsufficientScope("catalogue:read")
    raise Forbidden(
        "Only staff and API keys may look for external ids and metadata: leave out `external_id` and"
        " `metadata`."
    )


def check_prices(filters: Filters) -> None:
    low, high = filters.min_price, filters.max_price
    if low is not None and high is not None and low > high:
        raise Unprocessable.at("?min_price", "`min_price` is above `max_price`.", "empty_range")


async def find(
    session: Session,
    caller: AnyCaller | None,
    page: Page,
    filters: Filters,
    *,
    search: str | None,
    sort: str | None,
) -> list[Any]:
    """Documents of items: sorted, or with `search` ranked, best match first.

    With nothing but `updated_since` to go by, they come in the order of their changes.
    """
    check_prices(filters)
    if filters.external_id is not None or filters.metadata is not None:
        await require_staff(session, caller, None)
    filters = await narrowed(session, filters)
    withdrawn, since = is_staff(caller), filters.updated_since
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


async def narrowed(session: Session, filters: Filters) -> Filters:
    """The same filters, and the ids of the items in a range of numbers that only few are in."""
    for each in filters.attributes.ranges if filters.attributes is not None else ():
        ids = await attributes.find_in_range(session, each)
        if ids is not None:
            return replace(filters, among=ids)
    return filters


async def find_removed(
    session: Session, caller: AnyCaller | None, page: Page, updated_since: datetime
) -> list[Any]:
    return await items.find_removed(session, page, updated_since, withdrawn=is_staff(caller))


async def find_changes(session: Session, caller: AnyCaller | None, page: Page, after: str) -> list[Any]:
    """Documents of items and of what the caller cannot see any longer. Raises PositionUnknown."""
    return await items.find_changes(session, page, after, withdrawn=is_staff(caller))


async def get_document(session: Session, caller: AnyCaller | None, item_id: int) -> Record:
    """The item as it is sent."""
    row = await items.get_document(session, item_id, withdrawn=is_staff(caller))
    if row is None:
        raise ItemNotFound
    return row


async def create(session: Session, new: ItemCreate, *, by: AnyCaller | None) -> Item:
    """Raises SkuTaken or ExternalIdTaken. The stock it starts with is the first entry of its ledger.

    `by` is None where items are imported: those have been there before, and are no event.
    """
    [made] = await _add(session, [new], by)
    if made is None:
        raise await _taken(session, {"": new})
    await _announce_created(session, [made], by)
    return Item.of(made)


async def create_batch(session: Session, new: Sequence[ItemCreate], *, by: AnyCaller | None) -> list[Item]:
    """Create all or none. Raises SkuTaken, which names each item whose SKU is taken, in the batch too; or
    ExternalIdTaken.
    """
    if faults := repeated([item.external_id for item in new]):
        raise Unprocessable(faults[0].detail, errors=tuple(faults))
    made = await _add(session, new, by)
    refused = {f"/{position}": new[position] for position, row in enumerate(made) if row is None}
    if refused:
        raise await _taken(session, refused)
    created = [row for row in made if row is not None]
    await _announce_created(session, created, by)
    return Item.all_of(created)


async def _announce_created(session: Session, created: Sequence[Record], by: AnyCaller | None) -> None:
    if by is not None:
        await history.publish(session, "item.created", created)


async def _add(session: Session, new: Sequence[ItemCreate], by: AnyCaller | None) -> Sequence[Record | None]:
    await reauthorize(session, by)
    made = await items.add(session, [to_add(item) for item in new], actor_id=by.user_id if by else None)
    await history.record_created(session, [row for row in made if row is not None], by=by)
    return made


def to_add(new: ItemCreate) -> items.New:
    return items.New(
        sku=new.sku,
        external_id=new.external_id,
        name=new.name,
        description=new.description or "",
        category=new.category or "",
        price=new.price,
        is_active=new.is_active,
        images=stored(new.images or []),
        attributes=stored(merged({}, new.attributes)),
        metadata=stored(merged({}, new.metadata)),
        quantity=new.stock,
        reorder_level=new.reorder_level,
    )


def repeated(external_ids: Sequence[str | None]) -> list[FieldFault]:
    """A fault for each external id that stands before in the batch."""
    seen: set[str] = set()
    faults = []
    for place, external_id in enumerate(external_ids):
        if external_id is None:
            continue
        if external_id in seen:
            detail = "Another row has this external id: send a different one."
            faults.append(FieldFault(f"/{place}/external_id", detail, "duplicate"))
        seen.add(external_id)
    return faults


async def _taken(session: Session, refused: Mapping[str, ItemCreate]) -> ServiceError:
    """Why these items were not added, by their pointers. An external id comes first: its item is known."""
    named = {each.external_id: pointer for pointer, each in refused.items() if each.external_id is not None}
    holders = await items.get_ids_by_external_id(session, named)
    for external_id, pointer in named.items():
        if external_id in holders:
            return ExternalIdTaken.by("item", holders[external_id], f"{pointer}/external_id")
    return _sku_taken(*(f"{pointer}/sku" for pointer in refused))


def _sku_taken(*pointers: str) -> SkuTaken:
    detail = "Another item has this SKU: send a different one."
    faults = tuple(FieldFault(pointer, detail, SkuTaken.code) for pointer in pointers)
    return SkuTaken(
        detail if len(pointers) == 1 else "Other items have these SKUs: send different ones.",
        errors=faults,
        all_faults=True,
    )


async def change(
    session: Session, item_id: int, patch: ItemPatch, *, by: AnyCaller, expected: Versions | None = None
) -> Item:
    """Update an item. The reorder level is stored with the stock, and may change the availability."""
    await reauthorize(session, by)
    values = given(patch)
    locked = await stock.lock(session, [item_id])
    if not locked:
        raise ItemNotFound
    require(expected, locked[0])
    level = level_before = locked[0].reorder_level
    old = await items.get(session, item_id)
    values |= product_page.changed(old, values)
    if "reorder_level" in values:
        level = values.pop("reorder_level")
        await stock.set_reorder_level(session, item_id, level)
    taken = await items.change(session, item_id, values)
    if taken == "external_id":
        holders = await items.get_ids_by_external_id(session, [values["external_id"]])
        raise ExternalIdTaken.by("item", holders.get(values["external_id"]))
    if taken:
        raise _sku_taken("/sku")
    row = await items.get(session, item_id)
    changed = [ItemChange(old, row, level_before, level)]
    await history.record_changed(session, changed, by=by)
    await history.publish_updated(session, changed)
    return Item.of(row)


def given(patch: ItemPatch) -> dict[str, Any]:
    """What a patch sets, by name."""
    values = patch.model_dump(exclude_unset=True)
    return values | {name: values[name] or "" for name in REMOVABLE if name in values}


async def withdraw(
    session: Session, item_id: int, *, by: AnyCaller, expected: Versions | None = None
) -> None:
    """Withdraw the item from sale; nothing happens if it is withdrawn already. Past orders keep it."""
    await change(session, item_id, ItemPatch(is_active=False), by=by, expected=expected)
