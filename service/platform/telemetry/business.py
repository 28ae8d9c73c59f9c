"""What the shop does: orders by what became of them.

Counted where an order comes into a state, which is one statement each in repositories/orders, once the
transaction is committed: no service has to think of it, what is rolled back and run again counts once, and
the worker's own transitions count like anybody's. Refusals are counted where they are rendered.
"""

from typing import Any, Final

from prometheus_client import Counter

ORDERS = Counter(
    "orders_total", "Orders that have come into a state: placed, paid and so on.", ["outcome", "shipping"]
)
REVENUE = Counter("order_revenue_total", "What paid orders come to, in units of the currency.", ["currency"])
REFUSALS = Counter("order_refusals_total", "Orders, or transitions of orders, that were refused.", ["code"])
FAULTS = Counter(
    "order_invariant_faults_total",
    "Rows that cannot be, found by the worker's hourly look at the whole database, each time they are found.",
    ["check"],
)

OUTCOMES: Final = ("placed", "paid", "shipped", "delivered", "cancelled", "refunded")
SHIPPINGS: Final = ("standard", "express", "overnight")
#: The refusals that are watched: they count from zero.
CODES: Final = ("out_of_stock", "price_changed", "too_many_unpaid", "address_required", "invalid_transition")


def order_came(row: Any) -> None:
    """An order is now as this row says."""
    ORDERS.labels(row.status, row.shipping).inc()
    if row.status == "paid":
        REVENUE.labels(row.currency).inc(float(row.total))


def order_refused(code: str) -> None:
    """`code` is one of the service's own error codes."""
    REFUSALS.labels(code).inc()


def faults_found(check: str, count: int) -> None:
    FAULTS.labels(check).inc(count)


def begin(currency: str) -> None:
    for outcome in OUTCOMES:
        for shipping in SHIPPINGS:
            ORDERS.labels(outcome, shipping)
    REVENUE.labels(currency)
    for code in CODES:
        REFUSALS.labels(code)
