"""The catalogue."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query

from service.catalogue import repository
from service.catalogue import service as items
from service.catalogue.repository import Filters
from service.catalogue.schemas import CHAI, CHANG, MAX_BATCH, CategoryCount, Item, ItemCreate, ItemPatch, Sort
from service.identity.dependencies import CatalogueReader, CatalogueWriter
from service.platform.http.body import large_body
from service.platform.http.etag.conditions import IfMatch
from service.platform.http.etag.versions import Versions
from service.platform.http.listing import A_MARK, CHANGES, UPDATED_SINCE, ListingDep, Removed, UpdatedSince
from service.platform.http.location import Located
from service.platform.http.openapi import CATALOGUE_READ, problems
from service.platform.http.response_cache import public_read
from service.platform.http.route import Route
from service.platform.http.schemas import DIGITS, MAX_ID, Bound, Moment, ShortLine
from service.platform.http.session import ReaderDep, SessionDep

router = APIRouter(route_class=Route, prefix="/items", tags=["items"])

IfItem = Annotated[Versions | None, Depends(IfMatch(Item))]
IfItemRequired = Annotated[Versions | None, Depends(IfMatch(Item, required=True))]
ItemId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]
Search = Annotated[
    ShortLine | None,
    Query(
        min_length=3,
        description="Finds words, parts of words and words with a typo; best match first, at most 1,000.",
        examples=["chocolade"],
    ),
]


async def get_filters(
    *,
    sku: ShortLine | None = None,
    updated_since: Annotated[
        Moment | None,
        Query(
            description=f"{UPDATED_SINCE} In the order of the changes, unless `sort` or `search` is given.",
            examples=[A_MARK],
        ),
    ] = None,
    category: ShortLine | None = None,
    in_stock: Annotated[bool | None, Query(description="Whether the item can be ordered.")] = None,
    min_price: Bound | None = None,
    max_price: Bound | None = None,
    is_active: Annotated[
        bool | None, Query(description="`false` lists withdrawn items, for administrators only.")
    ] = None,
) -> Filters:
    return Filters(sku, updated_since, category, in_stock, min_price, max_price, is_active)


@router.get("", responses=CHANGES, openapi_extra=CATALOGUE_READ)
@public_read("items")
async def list_items(
    caller: CatalogueReader,
    listing: ListingDep,
    reader: ReaderDep,
    filters: Annotated[Filters, Depends(get_filters)],
    *,
    search: Search = None,
    sort: Annotated[
        Sort | None, Query(description="By default `id`; `-` reverses the order. Not with `search`.")
    ] = None,
) -> list[Item]:
    """List items of the catalogue, with filters, sort orders and search.

    Administrators, and keys with `catalogue:write`, see withdrawn items too, unless `is_active=true`.
    """
    rows = await items.find(reader, caller, listing.page, filters, search=search, sort=sort)
    return listing.of(Item, rows)


@router.get("/removed", responses=CHANGES, openapi_extra=CATALOGUE_READ)
async def list_removed_items(
    caller: CatalogueReader, listing: ListingDep, reader: ReaderDep, updated_since: UpdatedSince
) -> list[Removed]:
    """List the ids of items that were withdrawn from sale, in the order of the changes."""
    return listing.of(Removed, await items.find_removed(reader, caller, listing.page, updated_since))


@router.get("/categories")
@public_read("items")
async def list_categories(reader: ReaderDep) -> list[CategoryCount]:
    """List the categories of items on sale, by name, each with its number of items."""
    return CategoryCount.all_of(await repository.count_by_category(reader))


@router.get("/{item_id}", responses=problems(404), openapi_extra=CATALOGUE_READ)
@public_read("items", row="item_id")
async def get_item(item_id: ItemId, caller: CatalogueReader, reader: ReaderDep) -> Item:
    """Get an item. A withdrawn one is 404 for all but administrators and keys with `catalogue:write`."""
    return await items.get(reader, caller, item_id)


@router.post("", status_code=201, responses=problems(403, 409))
async def create_item(
    new: Annotated[ItemCreate, Body(examples=[CHAI, CHANG])],
    caller: CatalogueWriter,
    session: SessionDep,
    located: Located,
) -> Item:
    """Create an item, with its initial stock."""
    item = await items.create(session, new, by=caller)
    located(item.id)
    return item


@router.post("/batch", status_code=201, responses=problems(403, 409))
@large_body
async def create_items(
    new: Annotated[list[ItemCreate], Body(min_length=1, max_length=MAX_BATCH, examples=[[CHAI, CHANG]])],
    caller: CatalogueWriter,
    session: SessionDep,
) -> list[Item]:
    """Create up to 1,000 items. All are created, or none; `errors` names the faults of each item."""
    return await items.create_batch(session, new, by=caller)


@router.patch("/{item_id}", responses=problems(403, 404, 409, 428))
async def update_item(
    item_id: ItemId,
    patch: Annotated[ItemPatch, Body(examples=[{"price": "19.50"}, {"reorder_level": 10}])],
    caller: CatalogueWriter,
    expected: IfItemRequired,
    session: SessionDep,
) -> Item:
    """Update an item. Absent fields stay; `null` removes description and category (RFC 7396)."""
    return await items.change(session, item_id, patch, by=caller, expected=expected)


@router.delete("/{item_id}", status_code=204, responses=problems(403, 404))
async def withdraw_item(
    item_id: ItemId, caller: CatalogueWriter, expected: IfItem, session: SessionDep
) -> None:
    """Withdraw an item from sale. Past orders keep it."""
    await items.withdraw(session, item_id, by=caller, expected=expected)
