"""Metrics of orders.

The repository counts an order's new status once the transaction is committed: no service has to think of
it, a transaction that is rolled back and retried counts once, and the worker's transitions count too.
Refusals are counted when they are answered.
"""

from decimal import Decimal
from typing import Final

from service.platform.telemetry.metrics import Counter

ORDERS = Counter(
    "orders_total", "Orders that have reached a status: placed, paid and so on.", ["outcome", "shipping"]
)
REVENUE = Counter(
    "order_revenue_total", "Total of the orders that were paid, in units of the currency.", ["currency"]
)
REFUSALS = Counter(
    "order_refusals_total",
    "Orders, and transitions of orders, that were refused, by the problem's code.",
    ["code"],
)

ROUTES: Final = "/api/v1/orders"
OUTCOMES: Final = ("placed", "paid", "shipped", "delivered", "cancelled", "refunded")
SHIPPINGS: Final = ("standard", "express", "overnight")
#: The refusals that are watched: they count from zero.
CODES: Final = ("out_of_stock", "price_changed", "too_many_unpaid", "address_required", "invalid_transition")


def count_status(status: str, shipping: str, currency: str, total: Decimal) -> None:
    """An order has reached this status."""
    ORDERS.labels(status, shipping).inc()
    if status == "paid":
        REVENUE.labels(currency).inc(float(total))


def count_refusal(route: str, code: str) -> None:
    """A change was refused at this route, with one of the service's own error codes."""
    if route.startswith(ROUTES):
        REFUSALS.labels(code).inc()


def begin(currency: str) -> None:
    for outcome in OUTCOMES:
        for shipping in SHIPPINGS:
            ORDERS.labels(outcome, shipping)
    REVENUE.labels(currency)
    for code in CODES:
        REFUSALS.labels(code)
