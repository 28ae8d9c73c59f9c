"""Errors of the catalogue."""

from typing import ClassVar

from service.errors import Conflict, Members, NotFound, list_schema


class ItemNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("The item does not exist, or is withdrawn from sale. Check its id.")


class SkuTaken(Conflict):
    code, title = "sku_taken", "SKU already in use"


class OutOfStock(Conflict):
    """Of an order: there is not enough of a product."""

    code, title = "out_of_stock", "Not enough stock"
    members: ClassVar[Members] = {
        "products": list_schema(
            "Every product with fewer units in stock than the order requests.",
            product_id={"type": "integer", "examples": [48]},
            name={"type": "string", "examples": ["Chocolade"]},
            requested={"type": "integer", "examples": [3]},
            left={"type": "integer", "examples": [2]},
        )
    }


class StockBelowZero(OutOfStock):
    """Of an adjustment of stock: more units would go than there are."""

    members: ClassVar[Members] = {
        "available": {"type": "integer", "description": "The units in stock.", "examples": [4]}
    }
