"""Orders as clients send and see them."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from service.platform.http.etag.versions import Version, Versioned
from service.platform.http.schemas import Id, Instant, Money, Out, WrittenMoney, money_text

Status = Literal["placed", "paid", "shipped", "delivered", "cancelled", "refunded"]
Shipping = Literal["standard", "express", "overnight"]

#: Whose act a transition was; never a person's id.
Actor = Literal["customer", "staff", "api_key", "system", "import", "unknown"]


class ShipTo(Out):
    name: str | None
    street: str
    city: str
    region: str | None
    postal_code: str | None
    country: str


class OrderLine(Out):
    product_id: Id
    name: str
    quantity: int
    unit_price: WrittenMoney
    discount_pct: WrittenMoney
    line_total: WrittenMoney

    @classmethod
    def sold(cls, line: Any) -> Self:
        """From a line whose amounts are numbers, as before it is stored."""
        return cls(
            product_id=line.product_id,
            name=line.name,
            quantity=line.quantity,
            unit_price=money_text(line.unit_price),
            discount_pct=money_text(line.discount_pct),
            line_total=money_text(line.line_total),
        )


class OrderEvent(Out):
    """The order came into this state."""

    status: Status
    at: Instant
    by: Annotated[
        Actor,
        Field(
            description="Who brought it there: the customer, staff (an administrator), a machine by its API"
            " key, the system by itself, or the import of past orders; `unknown` for what was before"
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
    subtotal: Annotated[Money, Field(description="Before discounts.")]
    discount: Annotated[Money, Field(description="What the discounts took off.")]
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
