"""The catalogue and its stock as clients send and see them."""

from typing import Annotated, Any, Final, Literal

from pydantic import MISSING, AfterValidator, Field, StringConstraints

from service.platform.http import text_validation
from service.platform.http.etag.versions import Version, Versioned
from service.platform.http.field_errors import invalid
from service.platform.http.schemas import (
    NUMERAL,
    Flag,
    Id,
    In,
    Instant,
    Line,
    Money,
    Out,
    Price,
    Prose,
    ShortLine,
    at_most,
    changed_elsewhere,
)

MAX_INITIAL_STOCK: Final = 1_000_000
MAX_STOCK: Final = 2_000_000_000
MAX_BATCH: Final = 1_000

Availability = Literal["in_stock", "low_stock", "out_of_stock"]
Sort = Literal[
    "id", "-id", "name", "-name", "price", "-price", "created_at", "-created_at", "updated_at", "-updated_at"
]
MovementKind = Literal["initial", "adjustment", "sale", "return"]

CHAI: Final = {"name": "Chai", "price": "18.00"}
CHANG: Final = {
    "sku": "NW-2",
    "name": "Chang",
    "description": "24 - 12 oz bottles",
    "category": "Beverages",
    "price": "19.00",
    "stock": 17,
    "reorder_level": 25,
}


def _not_zero(delta: int) -> int:
    if delta == 0:
        raise invalid("zero", "Send a number of units other than 0: below 0 takes them out of stock.")
    return delta


Sku = Annotated[
    ShortLine,
    Field(description="Unique among all items. By default `TP-` and the item's id.", examples=["NW-1"]),
]
#: Like a ShortLine, but may be empty, which is to have none.
Category = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=100),
    AfterValidator(text_validation.line_or_none),
    at_most(100),
    Field(examples=["Beverages"], json_schema_extra={"pattern": text_validation.LINE_OR_NONE}),
]
ReorderLevel = Annotated[
    int,
    Field(ge=0, le=MAX_INITIAL_STOCK, description="At this stock or below, the item is `low_stock`."),
    NUMERAL,
]


class ItemCreate(In):
    name: Annotated[Line, Field(examples=["Chai"])]
    price: Price
    sku: Sku | None = None
    description: Prose | None = None
    category: Category | None = None
    is_active: Annotated[
        Flag, Field(description="`false` creates a withdrawn item, which is not for sale.")
    ] = True
    stock: Annotated[int, Field(ge=0, le=MAX_INITIAL_STOCK, examples=[39]), NUMERAL] = 0
    reorder_level: ReorderLevel = 0


class ItemPatch(In):
    """Changes of an item. Absent fields stay; `null` removes the description or category (RFC 7396)."""

    sku: Sku | MISSING = MISSING
    name: Line | MISSING = MISSING
    description: Prose | None = None
    category: Category | None = None
    price: Price | MISSING = MISSING
    is_active: Annotated[
        Flag | MISSING, Field(description="`false` withdraws the item from sale, `true` puts it back.")
    ] = MISSING
    reorder_level: ReorderLevel | MISSING = MISSING
    stock: Annotated[
        Any,
        *changed_elsewhere(
            "Stock is not changed here: send its `delta` and a `reason` to POST /items/{id}/stock."
        ),
    ] = MISSING


class Item(Versioned):
    """An item of the catalogue. It has the availability, but not the exact stock."""

    id: Id
    sku: str
    name: str
    description: str
    category: str
    price: Money
    availability: Availability
    is_active: bool
    version: Version
    created_at: Instant
    updated_at: Instant


class CategoryCount(Out):
    category: str
    count: Annotated[int, Field(description="The number of items on sale.", examples=[12])]


class StockChange(In):
    delta: Annotated[
        int,
        Field(
            ge=-MAX_STOCK,
            le=MAX_STOCK,
            description="The number of units to add; a negative number removes units. Not 0.",
            json_schema_extra={"not": {"const": 0}},
        ),
        AfterValidator(_not_zero),
        NUMERAL,
    ]
    reason: Annotated[Line, Field(examples=["Delivery 2026-114"])]


class StockMovement(Out):
    id: Id
    kind: MovementKind
    delta: int
    reason: str
    order_id: Id | None
    actor_id: Annotated[
        int | None, Field(description="The user who caused the movement, while the account exists.")
    ]
    created_at: Instant


class Stock(Out):
    item_id: Id
    quantity: int
    reorder_level: int
    movements: Annotated[list[StockMovement], Field(description="The last 100 movements, newest first.")]
