"""Placing an order: what refuses it, and what it is made of.

What an order costs is in pricing.py, and how much a customer may leave unpaid in order_limits.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from service import catalogue
from service.accounts import get_customer
from service.catalogue import OutOfStock
from service.errors import FieldFault, Forbidden, ServiceError, Unprocessable
from service.identity import AnyCaller
from service.orders import order_limits, pricing
from service.orders.errors import ItemWithdrawn, TooManyCancelled, TooManyReserved, TooManyUnpaid
from service.orders.order_limits import OrderLimits
from service.orders.placing import repository as placing
from service.orders.pricing import PricedLine, RequestedLine
from service.orders.schemas import Order, OrderCreate, OrderLine
from service.orders.service import announcement_of, lock_staff
from service.platform.config import Settings
from service.platform.database import Record, Session

MAX_UNPAID: Final = 20
#: With this scope a key may do for customers what administrators may: order, and enter agreed prices.
STAFF_SCOPE: Final = "orders:write"
#: What a new order is besides what it was ordered with.
NEW: Final[Mapping[str, Any]] = {
    "version": 1,
    "refund_due": False,
    **dict.fromkeys(("cancel_reason", "tracking", "paid_at", "shipped_at", "delivered_at")),
    **dict.fromkeys(("cancelled_at", "refunded_at")),
}


async def place(session: Session, settings: Settings, caller: AnyCaller, new: OrderCreate) -> Order:
    """Sell all lines or none. Locks the customer, then the items, so that neither changes meanwhile.

    Refusals come in this order: faults of the request, what the caller may not do, what the catalogue and
    the rules of orders say, and last missing stock.
    """
    requested = pricing.requested_lines(new)
    by_staff = caller.may(STAFF_SCOPE)
    if not by_staff:
        _refuse_staff_fields(new.user_id, [each.line.discount_pct for each in requested])
    customer_id = new.user_id or caller.user_id
    if customer_id is None:
        raise no_customer(
            "Required: an API key has no orders of its own. Send the customer's id in `user_id`.", "missing"
        )
    await _lock_staff_first(session, caller, customer_id)
    locked = await placing.lock(session, customer_id, list({each.line.product_id for each in requested}))
    if locked is None or not locked.customer.customer_is_active:
        raise no_customer()
    customer, items = locked.customer, locked.items
    lines = pricing.price_lines(requested, items)
    _refuse_withdrawn(requested, items)
    if not by_staff:
        pricing.refuse_other_prices(lines, items)
    sums = pricing.sum_up(new, lines, settings.shipping_rates.get(new.shipping, pricing.NOTHING))
    _refuse_missing_stock(lines, items)
    values = pricing.order_values(new, sums, settings.currency) | {
        "id": locked.order_id,
        "user_id": customer_id,
        "customer_name": customer.full_name,
        "status": "placed",
        "ship_to": new.ship_to.model_dump() if new.ship_to else customer.address,
        "placed_at": locked.now,
    }
    values["events"] = placing.timeline(values, by=caller.acts_as)
    order = Order.of(
        {**NEW, **values, "updated_at": locked.now, "lines": [OrderLine.priced(line) for line in lines]}
    )
    quantities = {line.product_id: line.quantity for line in lines}
    sold = catalogue.take_stock(list(items.values()), quantities, order_id=order.id, by=caller)
    body = f"{order.total} {order.currency} in total."
    # Staff may exceed the limits: they keep customers from holding stock for nothing.
    limits = None if by_staff else _limits(settings, email_verified=customer.email_verified)
    announcement = announcement_of(caller, order, body, sold)
    if not await placing.place(session, values, lines, announcement, limits=limits):
        assert limits is not None  # noqa: S101 - nothing else refuses it
        units = sum(line.quantity for line in lines)
        raise await _over_limits(
            session, customer_id, limits, units=units, email_verified=customer.email_verified
        )
    return order


async def require_may_send(_: Session, caller: AnyCaller, body: Any) -> None:
    """Refuse an order that the caller may not place, whatever else is wrong with it.

    Raises Forbidden, as `place` does.
    """
    if caller.may(STAFF_SCOPE) or not isinstance(body, dict):
        return
    lines = body.get("lines")
    parts = [body, *(lines if isinstance(lines, list) else ())]
    sent = [part.get("discount_pct") for part in parts if isinstance(part, dict)]
    _refuse_staff_fields(body.get("user_id"), map(_amount, sent))


def _amount(sent: Any) -> Decimal | None:
    """None for what is not an amount: validation refuses it."""
    try:
        return Decimal(str(sent)) if isinstance(sent, str | int | float) else None
    except InvalidOperation:
        return None


def _refuse_staff_fields(user_id: object, discounts: Iterable[Decimal | None]) -> None:
    if user_id is not None:
        raise Forbidden("Only administrators may order for another user: leave out `user_id`.")
    if any(discounts):
        raise Forbidden("Only administrators may give a discount: leave out `discount_pct`.")


def no_customer(
    detail: str = "No customer has this id. Check `user_id`.", code: str = "unknown_user"
) -> Unprocessable:
    return Unprocessable.at("/user_id", detail, code)


async def _lock_staff_first(session: Session, caller: AnyCaller, customer_id: int) -> None:
    """Staff who order for a customer are locked before that one, as where accounts are administered; those
    who order for themselves after it, and before the items.
    """
    if caller.acts_as != "customer" and customer_id == caller.user_id:
        await get_customer(session, customer_id, lock=True)
    await lock_staff(session, caller)


def _refuse_withdrawn(requested: Iterable[RequestedLine], items: Mapping[int, Record]) -> None:
    """Without their names: an item that was never for sale may have a name that is not public yet."""
    withdrawn = [each for each in requested if not items[each.line.product_id].is_active]
    if withdrawn:
        ids = sorted({each.line.product_id for each in withdrawn})
        named = ", ".join(str(item_id) for item_id in ids[:3]) + (", ..." if len(ids) > 3 else "")
        detail = f"No longer for sale: {named}. Order again without the products that `products` lists."
        gone = "This product is no longer for sale: leave it out."
        faults = tuple(
            FieldFault(f"{each.pointer}/product_id", gone, ItemWithdrawn.code) for each in withdrawn
        )
        products = [{"product_id": item_id} for item_id in ids]
        raise ItemWithdrawn(detail, errors=faults, extra={"products": products})


def _refuse_missing_stock(lines: Sequence[PricedLine], items: Mapping[int, Record]) -> None:
    """Raises OutOfStock with every product that has fewer units than are ordered."""
    short = [
        {"product_id": line.product_id, "name": line.name, "requested": line.quantity, "left": left}
        for line in lines
        if line.quantity > (left := items[line.product_id].quantity)
    ]
    if short:
        left = "; ".join(f"{each['left']} of {each['name']}" for each in short[:3])
        detail = f"Not enough stock: {left} left. Order fewer units of what `products` lists."
        raise OutOfStock(detail, extra={"products": short})


def _limits(settings: Settings, *, email_verified: bool) -> OrderLimits:
    """Fewer units until the e-mail address is verified: registering an account is free."""
    units = settings.reserved_units_limit
    if not email_verified:
        units = min(units, settings.reserved_units_limit_unverified)
    return OrderLimits(MAX_UNPAID, units, settings.cancelled_orders_limit)


async def _over_limits(
    session: Session, customer_id: int, limits: OrderLimits, *, units: int, email_verified: bool
) -> ServiceError:
    """Why an order of so many units was not added, and what to do. The customer's row is locked."""
    held = await order_limits.get(session, customer_id, max_cancelled=limits.cancelled)
    if held.unpaid >= limits.unpaid:
        return TooManyUnpaid(f"The customer has {held.unpaid} unpaid orders. Pay or cancel one first.")
    if held.units + units > limits.units:
        advice = " Verify your e-mail address (POST /auth/verify-email) to order more."
        detail = (
            f"Unpaid orders may reserve {limits.units} units together; yours reserve {held.units}, and this"
            f" one would add {units}. Order fewer, or pay or cancel an order first."
            f"{'' if email_verified else advice}"
        )
        numbers = {"limit": limits.units, "reserved": held.units, "requested": units}
        return TooManyReserved(detail, extra=numbers)
    wait = max(1, held.wait or 1)
    return TooManyCancelled(
        f"{limits.cancelled} orders of the last hour were cancelled before they were paid."
        f" Order again in {wait} s.",
        retry_after=wait,
    )
