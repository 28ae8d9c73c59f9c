"""The catalogue: items, their search, and their stock.

Other packages use what is imported here, and nothing else of this one.
"""

from service.catalogue.errors import OutOfStock
from service.catalogue.repository import get_ids_by_sku, get_products
from service.catalogue.schemas import Availability, Item, ItemCreate
from service.catalogue.service import create as create_item
from service.catalogue.stock.movements import Movements
from service.catalogue.stock.repository import AVAILABILITIES, LOCKED_ITEMS, movements
from service.catalogue.stock.service import put_back as put_back_stock
from service.catalogue.stock.service import take as take_stock

__all__ = (
    "AVAILABILITIES",
    "LOCKED_ITEMS",
    "Availability",
    "Item",
    "ItemCreate",
    "Movements",
    "OutOfStock",
    "create_item",
    "get_ids_by_sku",
    "get_products",
    "movements",
    "put_back_stock",
    "take_stock",
)
