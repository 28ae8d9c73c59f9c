"""Orders: reading and placing them, changing their shipping address, and announcing what happens to them.

What leads from one state to the next is in transitions.py, what an order costs in pricing.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from service import audit, catalogue, events, notifications
from service.accounts import ShipToIn, get_customer
from service.catalogue import OutOfStock
from service.errors import FieldFault, Forbidden, ServiceError, Unprocessable
from service.events import EventType
from service.identity import AnyCaller, reauthorize
from service.orders import order_limits, pricing
from service.orders import repository as orders
from service.orders.errors import (
    InvalidTransition,
    ItemWithdrawn,
    OrderNotFound,
    TooManyCancelled,
    TooManyReserved,
    TooManyUnpaid,
)
from service.orders.order_limits import OrderLimits
from service.orders.pricing import PricedLine, RequestedLine
from service.orders.schemas import Order, OrderCreate, OrderLine
from service.platform.config import Settings
from service.platform.database import Record, Session
from service.platform.database.pagination import Page
from service.platform.http.etag.versions import Versions, require

MAX_UNPAID: Final = 20
#: With this scope a key may do for customers what administrators may: order, and enter agreed prices.
STAFF_SCOPE: Final = "orders:write"
#: The states in which the shipping address may change.
BEFORE_SHIPPING: Final = ("placed", "paid")
#: What emails and webhooks are sent about. A refund is between the shop and its customer.
EVENT_BY_STATUS: Final[Mapping[str, EventType]] = {
    "placed": "order.placed",
    "paid": "order.paid",
    "shipped": "order.shipped",
    "delivered": "order.delivered",
    "cancelled": "order.cancelled",
}


async def get(session: Session, caller: AnyCaller, order_id: int) -> Order:
    return Order.of(await get_row(session, caller, order_id))


async def get_row(session: Session, caller: AnyCaller, order_id: int) -> Record:
    """The order with what only its invoice names: the references of its payment and its refund."""
    row = await orders.get(session, order_id, viewer_id=caller.sees_only)
    if row is None:
        raise OrderNotFound
    return row


async def find(
    session: Session,
    caller: AnyCaller,
    page: Page,
    *,
    user_id: int | None,
    status: str | None,
    placed_from: date | None,
    placed_until: date | None,
) -> list[Any]:
    """The caller's own orders; administrators and keys see all. Both days are included."""
    viewer_id = caller.sees_only
    if user_id is not None and viewer_id is not None and user_id != viewer_id:
        raise _others_orders()
    return await orders.find(
        session,
        page,
        user_id=user_id if viewer_id is None else viewer_id,
        status=status,
        placed_from=datetime.combine(placed_from, time.min, UTC) if placed_from else None,
        placed_until=datetime.combine(placed_until, time.max, UTC) if placed_until else None,
    )


async def require_may_list(_: Session, caller: AnyCaller, user_id: str) -> None:
    """Raises Forbidden for another user's orders, as `find` does."""
    if caller.sees_only is not None and user_id != str(caller.sees_only) and user_id.isdecimal():
        raise _others_orders()


def _others_orders() -> Forbidden:
    return Forbidden("Only administrators may list other users' orders: leave out `user_id`.")


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
    customer = await _lock_accounts(session, caller, customer_id)
    if customer is None or not customer.is_active:
        raise no_customer()
    rows = await catalogue.lock_items(session, {each.line.product_id for each in requested})
    items = {row.id: row for row in rows}
    lines = pricing.price_lines(requested, items)
    _refuse_withdrawn(requested, items)
    if not by_staff:
        pricing.refuse_other_prices(lines, items)
    sums = pricing.sum_up(new, lines, settings.shipping_rates.get(new.shipping, pricing.NOTHING))
    _refuse_missing_stock(lines, items)
    values = pricing.order_values(new, sums, settings.currency) | {
        "user_id": customer_id,
        "customer_name": customer.full_name,
        "status": "placed",
        "ship_to": new.ship_to.model_dump() if new.ship_to else customer.address,
    }
    # Staff may exceed the limits: they keep customers from holding stock for nothing.
    limits = None if by_staff else _limits(settings, email_verified=customer.email_verified)
    row = await orders.add(session, values, lines, by=caller.acts_as, limits=limits)
    if row is None:
        assert limits is not None  # noqa: S101 - nothing else refuses it
        units = sum(line.quantity for line in lines)
        raise await _over_limits(
            session, customer_id, limits, units=units, email_verified=customer.email_verified
        )
    order = Order.of({**row, "lines": [OrderLine.priced(line) for line in lines]})
    await announce(session, caller, order, f"{order.total} {order.currency} in total.")
    quantities = {line.product_id: line.quantity for line in lines}
    await catalogue.take_stock(session, quantities, order_id=order.id, by=caller)
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


async def _lock_accounts(session: Session, caller: AnyCaller, customer_id: int) -> Record | None:
    """The customer. Staff who order for a customer are locked first, as where accounts are administered."""
    if customer_id != caller.user_id:
        await lock_staff(session, caller)
    customer = await get_customer(session, customer_id, lock=True)
    if customer_id == caller.user_id:
        await lock_staff(session, caller)
    return customer


async def lock_staff(session: Session, caller: AnyCaller | None) -> None:
    """Check the access of staff and keys in the database. Customers act on their own orders, all day: what
    the process knows of their access is enough.
    """
    if caller is not None and caller.acts_as != "customer":
        await reauthorize(session, caller)


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


async def change_ship_to(
    session: Session,
    caller: AnyCaller,
    order_id: int,
    ship_to: ShipToIn,
    *,
    expected: Versions | None = None,
) -> Order:
    await lock_staff(session, caller)
    changed = await orders.change(
        session,
        order_id,
        viewer_id=caller.sees_only,
        sources=BEFORE_SHIPPING,
        values={"ship_to": ship_to.model_dump()},
        expected=expected,
    )
    if changed is None:
        order = await get(session, caller, order_id)
        require(expected, order)
        raise InvalidTransition(
            f"The order is {order.status}. Only the address of an order that is"
            f" {' or '.join(BEFORE_SHIPPING)} can change."
        )
    order = Order.of(changed)
    await _record(session, caller, order, "order.redirected")
    return order


async def announce(session: Session, caller: AnyCaller | None, order: Order, body: str) -> Order:
    """Notify the customer of the order's status, and record it in the audit log and as an event."""
    data = {"order_id": order.id, "status": order.status, "total": str(order.total)}
    title, kind = f"Order {order.id} is {order.status}", f"order.{order.status}"
    await notifications.notify(session, order.user_id, kind=kind, title=title, body=body, data=data)
    await _record(session, caller, order, kind)
    event = EVENT_BY_STATUS.get(order.status)
    if event is not None:
        shown = order.model_dump(mode="json")
        await events.publish(session, event, object_id=order.id, user_id=order.user_id, data=shown)
    return order


async def _record(session: Session, caller: AnyCaller | None, order: Order, action: str) -> None:
    data = {"user_id": order.user_id, "total": str(order.total)}
    await audit.record(session, action, by=caller, target_kind="order", target_id=order.id, data=data)
