"""What clients send about orders. Apart from `orders`, which `users` needs while this needs `users`."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field

from service.accounts import HOME, ShipToIn
from service.orders.schemas import Shipping
from service.platform.http.schemas import NUMERAL, Id, In, Line, Percent, Price, ShortLine

MAX_LINES: Final = 100
MAX_QUANTITY: Final = 1000

MANY: Final[dict[str, Any]] = {
    "lines": [
        {"product_id": 11, "quantity": 12, "unit_price": "14.00"},
        {"product_id": 42, "quantity": 10},
    ],
    "shipping": "express",
    "ship_to": HOME,
    "reference": "PO 4711",
}
ONE: Final[dict[str, Any]] = {"product_id": 11, "quantity": 2}

Quantity = Annotated[int, Field(ge=1, le=MAX_QUANTITY, examples=[2]), NUMERAL]
Seen = Annotated[
    Price | None,
    Field(description="The price that was shown. If it is no longer the price, the answer is a 409."),
]


class NewLine(In):
    product_id: Id
    quantity: Quantity
    unit_price: Seen = None
    discount_pct: Annotated[Percent, Field(description="Only administrators may send one.")] = Decimal(0)


class OrderCreate(In):
    """An order: `lines`, or for a single product its fields at the top."""

    model_config = ConfigDict(json_schema_extra={"examples": [MANY, ONE]})

    lines: Annotated[list[NewLine] | None, Field(min_length=1, max_length=MAX_LINES)] = None
    product_id: Annotated[Id | None, Field(description="Instead of `lines`, with `quantity`.")] = None
    quantity: Quantity | None = None
    unit_price: Seen = None
    discount_pct: Annotated[Percent | None, Field(description="Only administrators may send one.")] = None
    shipping: Shipping = "standard"
    ship_to: Annotated[ShipToIn | None, Field(description="The profile's address where absent.")] = None
    reference: Annotated[ShortLine | None, Field(description="The customer's own.", examples=["PO 4711"])] = (
        None
    )
    user_id: Annotated[
        Id | None, Field(description="The customer, where an administrator enters an agreed order.")
    ] = None


class Cancellation(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "Ordered twice"}]})

    reason: Line | None = None


class Payment(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reference": "pi_3MtwBwLkdIwHu7ix"}]})

    reference: Annotated[ShortLine, Field(description="The payment system's name for the payment.")]


class Shipment(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"tracking": "00340434161094042557"}]})

    tracking: Annotated[ShortLine, Field(description="Under which the carrier knows the parcel.")]


class Delivery(In):
    """Nothing needs to be said of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})


class Refund(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reference": "re_1Nispe2eZvKYlo2C"}]})

    reference: Annotated[ShortLine, Field(description="The payment system's name for the refund.")]


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


#: A time of the past; a date alone, or a time without an offset, is UTC.
Moment = Annotated[datetime, AfterValidator(_in_utc)]


class PastOrder(OrderCreate):
    """An order from before this installation, with the prices, freight and dates it had."""

    user_id: Id
    shipping_fee: Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)] = Decimal(0)
    status: Literal["paid", "delivered"]
    placed_at: Moment
    paid_at: Moment | None = None
    shipped_at: Moment | None = None
    delivered_at: Moment | None = None
