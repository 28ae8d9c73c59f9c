"""Stock in a batch, by SKU or item id, and the outcome of each."""

from typing import Annotated, Final, Literal

from pydantic import MISSING, Field

from service.catalogue.schemas import MAX_STOCK, Delta, ReorderLevel, Sku
from service.platform.http.etag.versions import Version
from service.platform.http.schemas import NUMERAL, Id, In, Line, Out

ROWS: Final = [
    {"sku": "NW-1", "stock": 39, "reorder_level": 10, "reason": "Count of 30 November"},
    {"item_id": 2, "stock": 17},
]


class StockRow(In):
    """New stock of one item, which `sku` or `item_id` names. Send `stock` or `delta`, `reorder_level`, or one
    of the first two and `reorder_level`.
    """

    sku: Sku | MISSING = MISSING
    item_id: Id | MISSING = MISSING
    stock: Annotated[
        int | MISSING,
        Field(ge=0, le=MAX_STOCK, description="The units in stock from now on.", examples=[39]),
        NUMERAL,
    ] = MISSING
    delta: Delta | MISSING = MISSING
    reorder_level: ReorderLevel | MISSING = MISSING
    reason: Annotated[
        Line,
        Field(description="Recorded with the stock movement.", examples=["Count of 30 November"]),
    ] = "Batch"


class StockResult(Out):
    """The outcome of one row; `version` is the item's."""

    item_id: Id
    sku: str
    version: Version
    quantity: int
    reorder_level: int
    result: Literal["changed", "unchanged"]
