"""Stock in batches."""

from typing import Annotated

from fastapi import Body

from service.catalogue.errors import OutOfStock
from service.catalogue.schemas import MAX_BATCH
from service.catalogue.stock_batch import service as batch
from service.catalogue.stock_batch.schemas import ROWS, StockResult, StockRow
from service.identity.dependencies import CatalogueWriter
from service.platform.http.body import large_body
from service.platform.http.idempotency.retries import HasKey, takes_key
from service.platform.http.injection import SessionDep
from service.platform.http.openapi import problems
from service.platform.http.route import api_router

router = api_router("/stock", tags=["items"])


@router.put("/batch", responses=problems(403, OutOfStock))
@large_body
@takes_key
async def update_stock(
    rows: Annotated[list[StockRow], Body(min_length=1, max_length=MAX_BATCH, examples=[ROWS])],
    has_key: HasKey,
    caller: CatalogueWriter,
    session: SessionDep,
) -> list[StockResult]:
    """Change the stock of up to 1,000 items. All or none; the response has the outcome of each row.

    A row names an item by `sku` or `item_id`. `stock` is what is in stock from now on; `delta` adds units or
    removes them, and needs an `Idempotency-Key`. A stock below 0 is 409. Each change is recorded with its
    `reason`. A row that changes nothing is recorded nowhere. `errors` names every fault of every row.

    Needs `catalogue:write`.
    """
    return await batch.put(session, rows, has_key=has_key, by=caller)
