"""Errors of orders."""

from typing import Any, ClassVar, Final

from service.errors import Conflict, Members, NotFound, TooManyRequests, list_schema

_AMOUNT: Final[dict[str, Any]] = {"type": "string", "pattern": r"^-?\d+\.\d{2}$", "examples": ["18.00"]}
_PRODUCT: Final[dict[str, Any]] = {"type": "integer", "examples": [48]}


class OrderNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("The order does not exist, or you may not see it. Check its id.")


class InvalidTransition(Conflict):
    code, title = "invalid_transition", "The order's status does not allow this"


class AddressRequired(Conflict):
    code, title = "address_required", "A shipping address is required"


class PriceChanged(Conflict):
    code, title = "price_changed", "The price has changed"
    members: ClassVar[Members] = {
        "prices": list_schema(
            "Every price that has changed.", product_id=_PRODUCT, yours=_AMOUNT, current=_AMOUNT
        )
    }


class ItemWithdrawn(Conflict):
    code, title = "item_withdrawn", "No longer for sale"
    members: ClassVar[Members] = {
        "products": list_schema("Every product that is no longer for sale.", product_id=_PRODUCT)
    }


class TooManyUnpaid(Conflict):
    code, title = "too_many_unpaid", "Too many unpaid orders"


class TooManyReserved(Conflict):
    code, title = "too_many_reserved", "Too many units reserved by unpaid orders"
    members: ClassVar[Members] = {
        "limit": {
            "type": "integer",
            "description": "The units that the customer's unpaid orders may reserve.",
            "examples": [200],
        },
        "reserved": {"type": "integer", "description": "The units that they reserve now.", "examples": [150]},
        "requested": {
            "type": "integer",
            "description": "The units that this order requests.",
            "examples": [60],
        },
    }


class TooManyCancelled(TooManyRequests):
    code, title = "too_many_cancelled", "Too many cancelled orders"
