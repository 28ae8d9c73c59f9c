"""Orders: placing them, their states, and the import of past ones.

Other packages use what is imported here, and nothing else of this one.
"""

from service.orders.past_orders import record_past_order
from service.orders.repository import get_latest, get_references
from service.orders.schemas import Order
from service.orders.service import get as get_order
from service.orders.service import get_row as get_order_row

__all__ = ("Order", "get_latest", "get_order", "get_order_row", "get_references", "record_past_order")
