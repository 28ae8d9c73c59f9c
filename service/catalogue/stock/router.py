"""The exact stock of an item."""

from typing import Annotated

from fastapi import Body, Path

from service.catalogue.errors import StockBelowZero
from service.catalogue.schemas import Stock, StockChange
from service.catalogue.stock import service as stock
from service.identity.dependencies import CatalogueWriter
from service.platform.http.injection import ReaderDep, SessionDep
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID

router = api_router("/items/{item_id}/stock", tags=["items"])

ItemId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]


@router.get("", responses=problems(403, 404))
async def get_stock(item_id: ItemId, _: CatalogueWriter, reader: ReaderDep) -> Stock:
    """Get an item's stock. The exact quantity, the reorder level and the last 100 stock movements.

    Needs an administrator or an API key with `catalogue:write`.
    """
    return await stock.get(reader, item_id)


@router.post("", responses=problems(403, 404, StockBelowZero))
async def adjust_stock(
    item_id: ItemId,
    change: Annotated[StockChange, Body(examples=[{"delta": 24, "reason": "Delivery 2026-114"}])],
    caller: CatalogueWriter,
    session: SessionDep,
) -> Stock:
    """Adjust an item's stock. Adds or removes units for a reason; for a stock below 0 the response is 409.

    Needs an administrator or an API key with `catalogue:write`.
    """
    return await stock.adjust(session, item_id, change, by=caller)
