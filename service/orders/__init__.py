"""Orders: placing them, their states, their import, and their invoices.

Other packages use what is named here, and nothing else of this one. Each is imported where it is first
used: the process that draws invoices imports this package too, and must stay small.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from service.orders.past_orders import record_past_order
    from service.orders.repository import get_latest, get_references
    from service.orders.schemas import Order

_MODULES: Final = {
    "Order": "schemas",
    "get_latest": "repository",
    "get_references": "repository",
    "record_past_order": "past_orders",
}
__all__ = ("Order", "get_latest", "get_references", "record_past_order")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
