"""Schemas and examples of messages: `{type, timestamp, data}`, with the object as the API shows it."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from service.accounts import User
from service.catalogue import Availability, Item
from service.events import EventType
from service.orders import Order
from service.platform.http.schemas import Id, Instant, Out
from service.posts import Post

Version = Annotated[
    int,
    Field(
        description="The number of the object's version: an older message has a smaller one.", examples=[1]
    ),
]
Shortened = Annotated[
    bool,
    Field(
        description="`true` if the service truncated long texts, which then end in `…`, to keep the message"
        " under 20 kB. Get the object for the whole texts. Absent otherwise."
    ),
]


class OrderData(Order):
    version: Version
    shortened: Shortened = False


class ItemData(Item):
    shortened: Shortened = False


class LowStockData(Out):
    """An item whose quantity has reached its reorder level."""

    id: Id
    sku: str
    name: str
    availability: Availability
    quantity: Annotated[int, Field(description="Units in stock.", examples=[13])]
    reorder_level: Annotated[int, Field(examples=[25])]
    version: Version


class UserData(User):
    version: Version


class PostData(Post):
    shortened: Shortened = False


class PingData(Out):
    webhook_id: Id
    delivery_id: Id


class _Message(Out):
    timestamp: Annotated[
        Instant,
        Field(
            description="When the event happened. The header `webhook-timestamp` has the time of the attempt."
        ),
    ]


class OrderMessage(_Message):
    type: Literal["order.placed", "order.paid", "order.shipped", "order.delivered", "order.cancelled"]
    data: OrderData


class ItemMessage(_Message):
    type: Literal["item.created", "item.updated"]
    data: ItemData


class LowStockMessage(_Message):
    type: Literal["item.low_stock"]
    data: LowStockData


class UserMessage(_Message):
    type: Literal["user.registered"]
    data: UserData


class PostMessage(_Message):
    type: Literal["post.published"]
    data: PostData


class PingMessage(_Message):
    type: Literal["ping"]
    data: PingData


MessageType = Literal[EventType, "ping"]

#: The message of each type, and when it is sent.
MESSAGES: Final[dict[MessageType, tuple[type[_Message], str]]] = {
    "user.registered": (UserMessage, "A user registered, or an administrator created the account."),
    "item.created": (ItemMessage, "An item was added to the catalogue. An import sends no message."),
    "item.updated": (
        ItemMessage,
        "An item was changed or withdrawn from sale. Orders and stock adjustments do not send it.",
    ),
    "item.low_stock": (LowStockMessage, "An item reached its reorder level."),
    "order.placed": (OrderMessage, "An order was placed. An import sends no message."),
    "order.paid": (OrderMessage, "An order was paid."),
    "order.shipped": (OrderMessage, "An order was shipped."),
    "order.delivered": (OrderMessage, "An order was delivered."),
    "order.cancelled": (
        OrderMessage,
        "An order was cancelled: by its customer, by an administrator, or because it was not paid in time.",
    ),
    "post.published": (PostMessage, "A post was published."),
    "ping": (PingMessage, "An administrator sent a test message."),
}

_AT: Final = "2026-11-22T10:30:00.123456Z"
_ITEM: Final[dict[str, Any]] = {
    "id": 1, "sku": "NW-1", "name": "Chai", "description": "10 boxes x 20 bags", "category": "Beverages",
    "price": "18.00", "availability": "in_stock", "is_active": True, "version": 1, "created_at": _AT,
    "updated_at": _AT,
}  # fmt: skip
_ORDER: Final[dict[str, Any]] = {
    "id": 10248, "user_id": 2, "customer_name": "Maria Anders", "status": "placed", "shipping": "standard",
    "lines": [
        {
            "product_id": 1, "name": "Chai", "quantity": 2, "unit_price": "18.00", "discount_pct": "0.00",
            "line_total": "36.00",
        }
    ],
    "subtotal": "36.00", "discount": "0.00", "shipping_fee": "0.00", "total": "36.00", "currency": "USD",
    "ship_to": {
        "name": None, "street": "Obere Str. 57", "city": "Berlin", "region": None, "postal_code": "12209",
        "country": "DE",
    },
    "reference": None, "refund_due": False, "cancel_reason": None, "tracking": None,
    "events": [{"status": "placed", "at": _AT, "by": "customer"}], "placed_at": _AT, "updated_at": _AT,
    "paid_at": None, "shipped_at": None, "delivered_at": None, "cancelled_at": None, "refunded_at": None,
    "version": 1,
}  # fmt: skip


def _with_status(order: dict[str, Any], status: str, **changed: Any) -> dict[str, Any]:
    """The order after its next transition."""
    step = {"status": status, "at": _AT, "by": "staff"}
    now = {"status": status, f"{status}_at": _AT, "version": order["version"] + 1}
    return {**order, **now, **changed, "events": [*order["events"], step]}


_PAID: Final = _with_status(_ORDER, "paid")
_SHIPPED: Final = _with_status(_PAID, "shipped", tracking="1Z999AA10123456784")
_POST: Final[dict[str, Any]] = {
    "id": 7, "title": "Chai is back", "body": "The first boxes have arrived.", "author_id": 2,
    "author_name": "Maria Anders", "status": "published", "version": 2, "created_at": _AT, "updated_at": _AT,
}  # fmt: skip
_USER: Final[dict[str, Any]] = {
    "id": 2, "email": "maria@shop.example", "full_name": "Maria Anders", "is_active": True, "is_admin": False,
    "email_verified": False, "created_at": _AT, "address": None, "version": 1,
}  # fmt: skip
_EXAMPLES: Final[dict[MessageType, dict[str, Any]]] = {
    "user.registered": _USER,
    "item.created": _ITEM,
    "item.updated": {**_ITEM, "price": "19.00", "version": 2},
    "item.low_stock": {
        "id": 1, "sku": "NW-1", "name": "Chai", "availability": "low_stock", "quantity": 13,
        "reorder_level": 25, "version": 3,
    },
    "order.placed": _ORDER,
    "order.paid": _PAID,
    "order.shipped": _SHIPPED,
    "order.delivered": _with_status(_SHIPPED, "delivered"),
    "order.cancelled": _with_status(_ORDER, "cancelled", cancel_reason="Ordered twice"),
    "post.published": _POST,
    "ping": {"webhook_id": 1, "delivery_id": 1},
}  # fmt: skip


def example(message_type: MessageType) -> dict[str, Any]:
    return {"type": message_type, "timestamp": _AT, "data": _EXAMPLES[message_type]}
