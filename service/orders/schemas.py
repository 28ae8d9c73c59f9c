"""Orders as clients send and see them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field

from service.accounts import HOME, ShipToIn
from service.platform.http.etag.versions import Version, Versioned
from service.platform.http.schemas import (
    NUMERAL,
    Id,
    In,
    Instant,
    Line,
    Money,
    Out,
    Percent,
    Price,
    ShortLine,
    WrittenMoney,
    money_text,
)

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

Status = Literal["placed", "paid", "shipped", "delivered", "cancelled", "refunded"]
Shipping = Literal["standard", "express", "overnight"]

#: Who made a transition; never a person's id.
Actor = Literal["customer", "staff", "api_key", "system", "import", "unknown"]


class ShipTo(Out):
    name: str | None
    street: str
    city: str
    region: str | None
    postal_code: str | None
    country: str

    def lines(self) -> tuple[str, ...]:
        """The address as it is written in an email or on an invoice."""
        town = " ".join(filter(None, (self.postal_code, self.city)))
        return tuple(filter(None, (self.name, self.street, town, self.region, self.country)))


class OrderLine(Out):
    product_id: Id
    name: str
    quantity: int
    unit_price: WrittenMoney
    discount_pct: WrittenMoney
    line_total: WrittenMoney

    @classmethod
    def priced(cls, line: Any) -> Self:
        """From a line of pricing.py, whose amounts are numbers."""
        return cls(
            product_id=line.product_id,
            name=line.name,
            quantity=line.quantity,
            unit_price=money_text(line.unit_price),
            discount_pct=money_text(line.discount_pct),
            line_total=money_text(line.line_total),
        )


class OrderEvent(Out):
    """One entry of the timeline: when the order reached a status, and who made the transition."""

    status: Status
    at: Instant
    by: Annotated[
        Actor,
        Field(
            description="Who made the transition: the customer, `staff` (an administrator), an API key, the"
            " system itself, or the import of past orders; `unknown` for transitions made before"
            " timelines were kept."
        ),
    ]


class Order(Versioned):
    id: Id
    user_id: Id
    customer_name: str
    status: Status
    shipping: Shipping
    lines: list[OrderLine]
    subtotal: Annotated[Money, Field(description="The sum of the lines before discounts.")]
    discount: Annotated[Money, Field(description="The sum of all discounts.")]
    shipping_fee: Money
    total: Money
    currency: str
    ship_to: ShipTo | None
    reference: str | None
    refund_due: bool
    cancel_reason: str | None
    tracking: str | None
    events: Annotated[list[OrderEvent], Field(description="The timeline, oldest first.")]
    version: Version
    placed_at: Instant
    updated_at: Instant
    paid_at: Instant | None
    shipped_at: Instant | None
    delivered_at: Instant | None
    cancelled_at: Instant | None
    refunded_at: Instant | None


Quantity = Annotated[int, Field(ge=1, le=MAX_QUANTITY, examples=[2]), NUMERAL]
ShownPrice = Annotated[
    Price | None,
    Field(description="The price that the customer saw. The response is 409 if the current one differs."),
]


class NewLine(In):
    product_id: Id
    quantity: Quantity
    unit_price: ShownPrice = None
    discount_pct: Annotated[
        Percent, Field(description="Only administrators and API keys may give a discount.")
    ] = Decimal(0)


class OrderCreate(In):
    """A new order. Send `lines`, or for a single product the same fields at the top level."""

    model_config = ConfigDict(json_schema_extra={"examples": [MANY, ONE]})

    lines: Annotated[list[NewLine] | None, Field(min_length=1, max_length=MAX_LINES)] = None
    product_id: Annotated[Id | None, Field(description="With `quantity`, in place of `lines`.")] = None
    quantity: Quantity | None = None
    unit_price: ShownPrice = None
    discount_pct: Annotated[
        Percent | None, Field(description="Only administrators and API keys may give a discount.")
    ] = None
    shipping: Shipping = "standard"
    ship_to: Annotated[
        ShipToIn | None, Field(description="Defaults to the address of the customer's profile.")
    ] = None
    reference: Annotated[
        ShortLine | None, Field(description="The customer's own reference.", examples=["PO 4711"])
    ] = None
    user_id: Annotated[
        Id | None,
        Field(description="The customer. API keys must name one, administrators may, other users may not."),
    ] = None


class Cancellation(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "Ordered twice"}]})

    reason: Line | None = None


class Payment(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reference": "pi_3MtwBwLkdIwHu7ix"}]})

    reference: Annotated[ShortLine, Field(description="The payment system's reference of the payment.")]


class Shipment(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"tracking": "00340434161094042557"}]})

    tracking: Annotated[ShortLine, Field(description="The carrier's tracking number.")]


class Delivery(In):
    """An empty object: a delivery has no fields."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})


class Refund(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reference": "re_1Nispe2eZvKYlo2C"}]})

    reference: Annotated[ShortLine, Field(description="The payment system's reference of the refund.")]


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


#: A time in the past; a date alone, or a time without an offset, is UTC.
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
