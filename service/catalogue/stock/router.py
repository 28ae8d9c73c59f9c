"""The exact stock of items."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Body, Path, Query

from service.catalogue.errors import StockBelowZero
from service.catalogue.schemas import Stock, StockChange, StockLevel
from service.catalogue.stock import repository
from service.catalogue.stock import service as stock
from service.identity.dependencies import CatalogueReader, CatalogueWriter
from service.platform.http.documents import Document
from service.platform.http.injection import ReaderDep, SessionDep
from service.platform.http.listing import IDS, ONE_OF, ChangesAfter, Ids, ListingDep, follows
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID, Removed

router = api_router("/items/{item_id}/stock", tags=["items"])

levels = api_router("/stock", tags=["items"])

ItemId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]


@levels.get("", responses=problems(403) | follows())
async def list_stock(
    _: CatalogueReader,
    listing: ListingDep,
    reader: ReaderDep,
    changes_after: ChangesAfter,
    ids: Annotated[Ids | None, Query(description=IDS.format("stock of the items"))] = None,
) -> Document[Sequence[Annotated[StockLevel | Removed, ONE_OF]]]:
    """List the stock of items. The exact quantity and the reorder level of each, by the items' ids.

    Needs `catalogue:read`.
    """
    if changes_after is not None:
        return listing.changes(await repository.find_changes(reader, listing.page, changes_after))
    return listing.document(StockLevel, await repository.find(reader, listing.page, ids))


@router.get("", responses=problems(403, 404))
async def get_stock(item_id: ItemId, _: CatalogueReader, listing: ListingDep, reader: ReaderDep) -> Stock:
    """Get an item's stock. The exact quantity, the reorder level and a page of the movements, newest first.

    Needs `catalogue:read`.
    """
    found = await stock.get(reader, item_id, listing.page)
    listing.set_headers()
    return found


@router.post("", responses=problems(403, 404, StockBelowZero))
async def adjust_stock(
    item_id: ItemId,
    change: Annotated[StockChange, Body(examples=[{"delta": 24, "reason": "Delivery 2026-114"}])],
    caller: CatalogueWriter,
    session: SessionDep,
) -> Stock:
    """Adjust an item's stock. Adds or removes units for a reason; for a stock below 0 the response is 409.

    Needs `catalogue:write`.
    """
    return await stock.adjust(session, item_id, change, by=caller)
