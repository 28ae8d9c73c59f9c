"""The catalogue."""

from typing import Annotated, Final

from fastapi import Body, Depends, Path, Query

from service.catalogue import repository
from service.catalogue import service as items
from service.catalogue.repository import Filters
from service.catalogue.schemas import CHAI, CHANG, MAX_BATCH, CategoryCount, Item, ItemCreate, ItemPatch, Sort
from service.identity.dependencies import CatalogueReader, CatalogueWriter
from service.platform.http.body import large_body
from service.platform.http.documents import Document
from service.platform.http.etag.conditions import IfMatch
from service.platform.http.etag.versions import Versions
from service.platform.http.injection import Located, ReaderDep, SessionDep
from service.platform.http.listing import (
    A_MARK,
    CHANGES,
    SEARCHED,
    UPDATED_SINCE,
    ListingDep,
    Removed,
    UpdatedSince,
)
from service.platform.http.openapi import CATALOGUE_READ, problems
from service.platform.http.public_reads import public_read
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID, Bound, Moment, ShortLine

router = api_router("/items", tags=["items"])

IfItem = Annotated[Versions | None, Depends(IfMatch(Item))]
IfItemRequired = Annotated[Versions | None, Depends(IfMatch(Item, required=True))]
#: The rights of callers who see withdrawn items.
SEES_WITHDRAWN: Final = ("administrator", "catalogue:write")
ItemId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]
Search = Annotated[
    ShortLine | None,
    Query(
        min_length=3,
        description="Matches words, parts of words and words with a typo: at most 1,000, best match first.",
        examples=["chocolade"],
    ),
]


async def get_filters(
    *,
    sku: Annotated[ShortLine | None, Query(description="Only the item with this SKU.")] = None,
    updated_since: Annotated[
        Moment | None,
        Query(
            description=f"{UPDATED_SINCE} The oldest change comes first, unless `sort` or `search` is given.",
            examples=[A_MARK],
        ),
    ] = None,
    category: Annotated[ShortLine | None, Query(description="Only items of this category.")] = None,
    in_stock: Annotated[
        bool | None, Query(description="`true` lists items in stock, `false` those out of stock.")
    ] = None,
    min_price: Annotated[Bound | None, Query(description="Only items of this price or more.")] = None,
    max_price: Annotated[Bound | None, Query(description="Only items of this price or less.")] = None,
    is_active: Annotated[
        bool | None,
        Query(
            description="`false` lists withdrawn items: for administrators and keys with `catalogue:write`."
        ),
    ] = None,
) -> Filters:
    return Filters(sku, updated_since, category, in_stock, min_price, max_price, is_active)


@router.get("", responses=SEARCHED, openapi_extra=CATALOGUE_READ)
@public_read("items", more_with=SEES_WITHDRAWN)
async def list_items(
    caller: CatalogueReader,
    listing: ListingDep,
    reader: ReaderDep,
    filters: Annotated[Filters, Depends(get_filters)],
    *,
    search: Search = None,
    sort: Annotated[
        Sort | None,
        Query(description="The order, by default `id`; `-` reverses it. Not allowed with `search`."),
    ] = None,
) -> Document[list[Item]]:
    """List items. Filters can be combined; `sort` and `search` exclude each other.

    Administrators and API keys with `catalogue:write` get withdrawn items too, unless `is_active` is `true`.
    """
    rows = await items.find(reader, caller, listing.page, filters, search=search, sort=sort)
    return listing.document(Item, rows)


@router.get("/removed", responses=CHANGES, openapi_extra=CATALOGUE_READ)
async def list_removed_items(
    caller: CatalogueReader, listing: ListingDep, reader: ReaderDep, updated_since: UpdatedSince
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
async def get_item(item_id: ItemId, caller: CatalogueReader, reader: ReaderDep) -> Document[Item]:
    """Get an item. Only administrators and API keys with `catalogue:write` get a withdrawn item."""
    return Document.of(Item, await items.get_document(reader, caller, item_id))


@router.post("", status_code=201, responses=problems(403, 409))
async def create_item(
    new: Annotated[ItemCreate, Body(examples=[CHAI, CHANG])],
    caller: CatalogueWriter,
    session: SessionDep,
    located: Located,
) -> Item:
    """Create an item. `stock` is its initial quantity.

    Needs an administrator or an API key with `catalogue:write`.
    """
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
    """Create up to 1,000 items. Creates all or none; `errors` names the faulty fields of each item.

    Needs an administrator or an API key with `catalogue:write`.
    """
    return await items.create_batch(session, new, by=caller)


@router.patch("/{item_id}", responses=problems(403, 404, 409, 428))
async def update_item(
    item_id: ItemId,
    patch: Annotated[ItemPatch, Body(examples=[{"price": "19.50"}, {"reorder_level": 10}])],
    caller: CatalogueWriter,
    expected: IfItemRequired,
    session: SessionDep,
) -> Item:
    """Update an item. Absent fields stay; `null` removes the description or category (RFC 7396).

    Needs an administrator or an API key with `catalogue:write`.
    """
    return await items.change(session, item_id, patch, by=caller, expected=expected)


@router.delete("/{item_id}", status_code=204, responses=problems(403, 404))
async def withdraw_item(
    item_id: ItemId, caller: CatalogueWriter, expected: IfItem, session: SessionDep
) -> None:
    """Withdraw an item from sale. Orders still show it; an update with `is_active` puts it back on sale.

    Needs an administrator or an API key with `catalogue:write`.
    """
    await items.withdraw(session, item_id, by=caller, expected=expected)
