"""Items in a batch, by their SKUs, and the outcome of each."""

from typing import Annotated, Any, Final, Literal

from pydantic import MISSING, Field

from service.catalogue.attributes.values import EXAMPLE as ATTRIBUTES
from service.catalogue.images import EXAMPLE as IMAGE
from service.catalogue.schemas import ItemPatch, Sku
from service.platform.http.etag.versions import Version
from service.platform.http.schemas import MAX_ID, NUMERAL, Id, Out, changed_elsewhere

#: A row that creates an item or changes it, and one that changes nothing but a price.
ROWS: Final = [
    {
        "sku": "NW-2",
        "name": "Chang",
        "description": "24 - 12 oz bottles",
        "category": "Beverages",
        "price": "19.00",
        "reorder_level": 25,
        "images": [IMAGE],
        "attributes": ATTRIBUTES,
    },
    {"sku": "NW-1", "price": "18.50", "version": 3},
]

KnownVersion = Annotated[
    int,
    Field(
        ge=1,
        le=MAX_ID,
        description="The version that you have read. If the item has another, nothing is changed.",
        examples=[3],
    ),
    NUMERAL,
]


class ItemRow(ItemPatch):
    """An item of a batch. Absent fields and attributes stay, `null` removes what may be absent. New items
    need `name` and `price`.
    """

    sku: Sku
    version: KnownVersion | MISSING = MISSING
    stock: Annotated[Any, *changed_elsewhere("Stock is not changed here: send it to PUT /stock/batch.")] = (
        MISSING
    )


Outcome = Literal["created", "changed", "unchanged"]


class ItemResult(Out):
    """The outcome of one row."""

    id: Id
    sku: str
    version: Version
    result: Outcome
