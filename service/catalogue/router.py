"""The catalogue."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import Body, Depends, Path, Query

from service.catalogue import repository
from service.catalogue import service as items
from service.catalogue.attributes.filters import PARAMETERS
from service.catalogue.dependencies import SEES_WITHDRAWN, Choice, Search
from service.catalogue.filters import Filters
from service.catalogue.schemas import CHAI, CHANG, MAX_BATCH, CategoryCount, Item, ItemCreate, ItemPatch, Sort
from service.errors import ExternalIdTaken
from service.identity.dependencies import CatalogueWriter, ItemsReader
from service.platform.http.access import AccessCheck
from service.platform.http.body import large_body
from service.platform.http.documents import Document
from service.platform.http.etag.conditions import IfMatch
from service.platform.http.etag.versions import Versions
from service.platform.http.injection import Located, ReaderDep, SessionDep
from service.platform.http.listing import (
    A_MARK,
    CHANGES,
    IDS,
    NEXT_UPDATED_SINCE,
    ONE_OF,
    SEARCH_RESULTS,
    UPDATED_SINCE,
    ChangesAfter,
    Ids,
    ListingDep,
    UpdatedSince,
    follows,
)
from service.platform.http.metadata import PARAMETER, WantedMetadata
from service.platform.http.openapi import CATALOGUE_READ, problems
from service.platform.http.public_reads import public_read
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID, ExternalId, Moment, Removed, ShortLine

router = api_router("/items", tags=["items"])

IfItem = Annotated[Versions | None, Depends(IfMatch(Item))]
IfItemRequired = Annotated[Versions | None, Depends(IfMatch(Item, required=True))]
ItemId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]


async def get_filters(
    choice: Choice,
    *,
    ids: Annotated[Ids | None, Query(description=IDS.format("items"))] = None,
    sku: Annotated[ShortLine | None, Query(description="Only the item with this SKU.")] = None,
    updated_since: Annotated[
        Moment | None,
        Query(
            description=f"{UPDATED_SINCE} The oldest change comes first, unless `sort` or `search` is given.",
            examples=[A_MARK],
        ),
    ] = None,
) -> Filters:
    return replace(choice, ids=ids, sku=sku, updated_since=updated_since)


@router.get(
    "",
    responses=follows(NEXT_UPDATED_SINCE, SEARCH_RESULTS) | problems(403),
    openapi_extra={**CATALOGUE_READ, "parameters": [*PARAMETERS, PARAMETER]},
)
@public_read("items", more_with=SEES_WITHDRAWN)
async def list_items(
    caller: ItemsReader,
    listing: ListingDep,
    reader: ReaderDep,
    filters: Annotated[Filters, Depends(get_filters)],
    changes_after: ChangesAfter,
    *,
    search: Search = None,
    sort: Annotated[
        Sort | None,
        Query(description="The order, by default `id`; `-` reverses it. Not allowed with `search`."),
    ] = None,
    external_id: Annotated[
        ExternalId | None,
        Query(description="Only the item with this external id: for staff and keys with `catalogue:read`."),
        AccessCheck(items.require_staff),
    ] = None,
    metadata: Annotated[str | None, WantedMetadata, AccessCheck(items.require_staff)],
) -> Document[Sequence[Annotated[Item | Removed, ONE_OF]]]:
    """List items. Filters can be combined; `sort` and `search` exclude each other.

    Staff and API keys with `catalogue:read` get withdrawn items too, unless `is_active` is `true`.
    """
    if changes_after is not None:
        return listing.changes(await items.find_changes(reader, caller, listing.page, changes_after))
    filters = replace(filters, external_id=external_id, metadata=metadata)
    rows = await items.find(reader, caller, listing.page, filters, search=search, sort=sort)
    return listing.document(Item, rows)


@router.get("/removed", responses=CHANGES, openapi_extra=CATALOGUE_READ)
async def list_removed_items(
    caller: ItemsReader, listing: ListingDep, reader: ReaderDep, updated_since: UpdatedSince
) -> list[Removed]:
    """List the ids of withdrawn items. The oldest change comes first, for clients that poll the catalogue."""
    return listing.of(Removed, await items.find_removed(reader, caller, listing.page, updated_since))


@router.get("/categories")
@public_read("category_counts", more_with=())
async def list_categories(reader: ReaderDep) -> list[CategoryCount]:
    """List the categories of items on sale. They are sorted by name, each with its number of items."""
    return CategoryCount.all_of(await repository.get_category_counts(reader))


@router.get("/{item_id}", responses=problems(404), openapi_extra=CATALOGUE_READ)
@public_read("items", row="item_id", more_with=SEES_WITHDRAWN)
async def get_item(item_id: ItemId, caller: ItemsReader, reader: ReaderDep) -> Document[Item]:
    """Get an item. Only staff and API keys with `catalogue:read` get a withdrawn item."""
    row = await items.get_document(reader, caller, item_id)
    return Document.of(Item, row, for_staff=items.is_staff(caller))


@router.post("", status_code=201, responses=problems(403, ExternalIdTaken))
async def create_item(
    new: Annotated[ItemCreate, Body(examples=[CHAI, CHANG])],
    caller: CatalogueWriter,
    session: SessionDep,
    located: Located,
) -> Item:
    """Create an item. `stock` is its initial quantity.

    Needs `catalogue:write`.
    """
    item = await items.create(session, new, by=caller)
    located(item.id)
    return item


@router.post("/batch", status_code=201, responses=problems(403, ExternalIdTaken))
@large_body
async def create_items(
    new: Annotated[list[ItemCreate], Body(min_length=1, max_length=MAX_BATCH, examples=[[CHAI, CHANG]])],
    caller: CatalogueWriter,
    session: SessionDep,
) -> list[Item]:
    """Create up to 1,000 items. Creates all or none; `errors` names the faulty fields of each item.

    Needs `catalogue:write`.
    """
    return await items.create_batch(session, new, by=caller)


@router.patch("/{item_id}", responses=problems(403, 404, ExternalIdTaken, 428))
async def update_item(
    item_id: ItemId,
    patch: Annotated[ItemPatch, Body(examples=[{"price": "19.50"}, {"reorder_level": 10}])],
    caller: CatalogueWriter,
    expected: IfItemRequired,
    session: SessionDep,
) -> Item:
    """Update an item (RFC 7396). Absent fields and attributes stay; `null` removes what may be absent. A list
    of images replaces the one before.

    Needs `catalogue:write`.
    """
    return await items.change(session, item_id, patch, by=caller, expected=expected)


@router.delete("/{item_id}", status_code=204, responses=problems(403, 404))
async def withdraw_item(
    item_id: ItemId, caller: CatalogueWriter, expected: IfItem, session: SessionDep
) -> None:
    """Withdraw an item from sale. Orders still show it; an update with `is_active` puts it back on sale.

    Needs `catalogue:write`.
    """
    await items.withdraw(session, item_id, by=caller, expected=expected)
