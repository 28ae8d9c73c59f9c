"""Items in batches, by their SKUs."""

from typing import Annotated

from fastapi import Body

from service.catalogue.batch import service as batch
from service.catalogue.batch.schemas import ROWS, ItemResult, ItemRow
from service.catalogue.errors import VersionConflict
from service.catalogue.schemas import MAX_BATCH
from service.errors import ExternalIdTaken
from service.identity.dependencies import CatalogueWriter
from service.platform.http.body import large_body
from service.platform.http.idempotency.retries import takes_key
from service.platform.http.injection import SessionDep
from service.platform.http.openapi import problems
from service.platform.http.route import api_router

router = api_router("/items", tags=["items"])


@router.put("/batch", responses=problems(403, ExternalIdTaken, VersionConflict))
@large_body
@takes_key
async def upsert_items(
    rows: Annotated[list[ItemRow], Body(min_length=1, max_length=MAX_BATCH, examples=[ROWS])],
    caller: CatalogueWriter,
    session: SessionDep,
) -> list[ItemResult]:
    """Create or update up to 1,000 items by SKU. All or none; the response has the outcome of each row.

    A row updates the item with its SKU: absent fields and attributes stay, `null` removes what may be absent,
    and images replace those before. A withdrawn item stays withdrawn unless `is_active` is `true`. If no item
    has the SKU, the row creates one, and needs `name` and `price`. A row without a change makes no version
    and no event. A `version` takes the place of `If-Match`. `errors` names every fault of every row.

    Needs `catalogue:write`.
    """
    return await batch.put(session, rows, by=caller)
