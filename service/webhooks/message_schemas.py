"""Schemas and examples of messages: `{type, timestamp, data}`, with the object as the API shows it."""

from typing import Annotated, Any, Final, Literal

from pydantic import MISSING, Field
from pydantic.json_schema import SkipJsonSchema

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
#: A member of the object that no message has.
NotSent = Annotated[Any, SkipJsonSchema(), Field(exclude=True)]


class OrderData(Order):
    metadata: NotSent = MISSING
    version: Version
    shortened: Shortened = False


class ItemData(Item):
    metadata: NotSent = MISSING
    shortened: Shortened = False


class StockData(Out):
    """The exact stock of an item."""

    id: Id
    sku: str
    name: str
    availability: Availability
    quantity: Annotated[int, Field(description="Units in stock.", examples=[13])]
    reorder_level: Annotated[int, Field(examples=[25])]
    version: Version


class UserData(User):
    metadata: NotSent = MISSING
    version: Version


class PostData(Post):
    shortened: Shortened = False


class GoneData(Out):
    """What there is no longer: only its id is left."""

    id: Id


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
    type: Literal[
        "order.placed",
        "order.updated",
        "order.redirected",
        "order.paid",
        "order.shipped",
        "order.delivered",
        "order.cancelled",
        "order.refunded",
    ]
    data: OrderData


class ItemMessage(_Message):
    type: Literal["item.created", "item.updated", "item.withdrawn"]
    data: ItemData


class StockMessage(_Message):
    type: Literal["stock.changed", "item.low_stock"]
    data: StockData


class UserMessage(_Message):
    type: Literal["user.registered", "user.updated", "user.deactivated", "user.activated"]
    data: UserData


class PostMessage(_Message):
    type: Literal["post.created", "post.updated", "post.published"]
    data: PostData


class GoneMessage(_Message):
    type: Literal["user.erased", "post.deleted"]
    data: GoneData


class PingMessage(_Message):
    type: Literal["ping"]
    data: PingData


MessageType = Literal[EventType, "ping"]

#: The message of each type, and when it is sent.
MESSAGES: Final[dict[MessageType, tuple[type[_Message], str]]] = {
    "user.registered": (UserMessage, "A user registered, or staff created the account."),
    "user.updated": (UserMessage, "A user's name, address, e-mail address or rights were changed."),
    "user.deactivated": (UserMessage, "Staff deactivated a user."),
    "user.activated": (UserMessage, "Staff activated a user again."),
    "user.erased": (GoneMessage, "A user deleted the account. Delete what you hold of this person."),
    "item.created": (ItemMessage, "An item was added to the catalogue. An import sends no message."),
    "item.updated": (
        ItemMessage,
        "An item was changed, or is for sale again. Orders and stock adjustments do not send it.",
    ),
    "item.withdrawn": (ItemMessage, "An item was withdrawn from sale."),
    "item.low_stock": (StockMessage, "An item reached its reorder level."),
    "stock.changed": (
        StockMessage,
        "The stock of an item was changed, by an import too. Changes within a second are one message.",
    ),
    "order.placed": (OrderMessage, "An order was placed. An import sends no message."),
    "order.updated": (OrderMessage, "An order was changed without a change of its status."),
    "order.redirected": (OrderMessage, "The shipping address of an order was changed."),
    "order.paid": (OrderMessage, "An order was paid."),
    "order.shipped": (OrderMessage, "An order was shipped."),
    "order.delivered": (OrderMessage, "An order was delivered."),
    "order.cancelled": (
        OrderMessage,
        "An order was cancelled: by its customer, by staff, or because it was not paid in time.",
    ),
    "order.refunded": (OrderMessage, "What was paid for a cancelled order was given back."),
    "post.created": (PostMessage, "A customer wrote a post, which waits for staff."),
    "post.updated": (
        PostMessage,
        "A post was changed. A customer's change of a published post takes it back to `pending`.",
    ),
    "post.published": (PostMessage, "A post was published."),
    "post.deleted": (GoneMessage, "A post was deleted."),
    "ping": (PingMessage, "Staff sent a test message."),
}

_AT: Final = "2026-11-22T10:30:00.123456Z"
_ITEM: Final[dict[str, Any]] = {
    "id": 1, "sku": "NW-1", "external_id": None, "name": "Chai", "description": "10 boxes x 20 bags",
    "category": "Beverages",
    "price": "18.00", "currency": "USD", "availability": "in_stock", "is_active": True,
    "images": [{"url": "https://img.shop.example/chai.jpg", "alt": "A box of Chai"}],
    "attributes": {"origin": "India", "weight_kg": 0.75, "organic": True}, "version": 1, "created_at": _AT,
    "updated_at": _AT,
}  # fmt: skip
_ORDER: Final[dict[str, Any]] = {
    "id": 10248, "user_id": 2, "customer_name": "Maria Anders", "customer_email": "maria@shop.example",
    "status": "placed", "shipping": "standard",
    "lines": [
        {
            "product_id": 1, "sku": "NW-1", "name": "Chai", "quantity": 2, "unit_price": "18.00",
            "discount_pct": "0.00", "line_total": "36.00",
        }
    ],
    "subtotal": "36.00", "discount": "0.00", "shipping_fee": "0.00", "total": "36.00", "currency": "USD",
    "ship_to": {
        "name": None, "street": "Obere Str. 57", "city": "Berlin", "region": None, "postal_code": "12209",
        "country": "DE",
    },
    "reference": None, "external_id": "SO-10248", "refund_due": False, "cancel_reason": None,
    "payment_reference": None, "refund_reference": None, "tracking": None,
    "events": [{"status": "placed", "at": _AT, "by": "customer"}], "placed_at": _AT, "updated_at": _AT,
    "paid_at": None, "shipped_at": None, "delivered_at": None, "cancelled_at": None, "refunded_at": None,
    "version": 1,
}  # fmt: skip


def _with_status(order: dict[str, Any], status: str, **changed: Any) -> dict[str, Any]:
    """The order after its next transition."""
    step = {"status": status, "at": _AT, "by": "staff"}
    now = {"status": status, f"{status}_at": _AT, "version": order["version"] + 1}
    return {**order, **now, **changed, "events": [*order["events"], step]}


_STOCK: Final[dict[str, Any]] = {
    "id": 1, "sku": "NW-1", "name": "Chai", "availability": "low_stock", "quantity": 13, "reorder_level": 25,
    "version": 3,
}  # fmt: skip
_ELSEWHERE: Final = {**_ORDER["ship_to"], "street": "Hauptstr. 1"}
_PAID: Final = _with_status(_ORDER, "paid", payment_reference="pi_3MtwBwLkdIwHu7ix")
_CANCELLED: Final = _with_status(_PAID, "cancelled", cancel_reason="Ordered twice", refund_due=True)
_SHIPPED: Final = _with_status(_PAID, "shipped", tracking="1Z999AA10123456784")
_POST: Final[dict[str, Any]] = {
    "id": 7, "title": "Chai is back", "body": "The first boxes have arrived.", "author_id": 2,
    "author_name": "Maria Anders", "status": "published", "version": 2, "created_at": _AT, "updated_at": _AT,
}  # fmt: skip
_USER: Final[dict[str, Any]] = {
    "id": 2, "email": "maria@shop.example", "full_name": "Maria Anders", "is_active": True, "is_admin": False,
    "scopes": [], "email_verified": False, "external_id": None, "created_at": _AT, "address": None,
    "version": 1,
}  # fmt: skip
_EXAMPLES: Final[dict[MessageType, dict[str, Any]]] = {
    "user.registered": _USER,
    "user.updated": {**_USER, "email_verified": True, "version": 2},
    "user.deactivated": {**_USER, "is_active": False, "version": 3},
    "user.activated": {**_USER, "version": 4},
    "user.erased": {"id": 2},
    "item.created": _ITEM,
    "item.updated": {**_ITEM, "price": "19.00", "version": 2},
    "item.withdrawn": {**_ITEM, "is_active": False, "version": 3},
    "item.low_stock": _STOCK,
    "stock.changed": _STOCK,
    "order.placed": _ORDER,
    "order.updated": {**_ORDER, "reference": "PO 4711", "version": 2},
    "order.redirected": {**_ORDER, "ship_to": _ELSEWHERE, "version": 2},
    "order.paid": _PAID,
    "order.shipped": _SHIPPED,
    "order.delivered": _with_status(_SHIPPED, "delivered"),
    "order.cancelled": _with_status(_ORDER, "cancelled", cancel_reason="Ordered twice"),
    "order.refunded": _with_status(_CANCELLED, "refunded", refund_due=False),
    "post.created": {**_POST, "status": "pending", "version": 1},
    "post.updated": {**_POST, "title": "Chai is here", "version": 3},
    "post.published": _POST,
    "post.deleted": {"id": 7},
    "ping": {"webhook_id": 1, "delivery_id": 1},
}  # fmt: skip


def example(message_type: MessageType) -> dict[str, Any]:
    return {"type": message_type, "timestamp": _AT, "data": _EXAMPLES[message_type]}
