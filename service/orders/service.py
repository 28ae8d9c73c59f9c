"""Orders: reading and placing them, and saying where they go."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from service import audit, notifications
from service.accounts import ShipToIn, get_customer
from service.catalogue.stock import repository as stock
from service.errors import (
    FieldFault,
    Forbidden,
    InvalidTransition,
    ItemWithdrawn,
    NotFound,
    ServiceError,
    TooManyCancelled,
    TooManyReserved,
    TooManyUnpaid,
    Unprocessable,
)
from service.events import repository as events
from service.identity import locks as callers
from service.identity.callers import AnyCaller
from service.orders import repository as orders
from service.orders import reservations
from service.orders.placing import OrderCreate
from service.orders.pricing import (
    NOTHING,
    Line,
    RequestedLine,
    order_values,
    price_lines,
    refuse_missing_stock,
    refuse_other_prices,
    requested_lines,
    sum_up,
)
from service.orders.reservations import Bounds
from service.orders.schemas import Order, OrderLine
from service.platform.config import Settings
from service.platform.database import Record, Session
from service.platform.database.pagination import Page
from service.platform.http.etag.versions import AllBut, Versions, require

MOST_UNPAID: Final = 20
#: What lets a key do for customers what administrators may: enter the prices that were agreed.
AGREE: Final = "orders:write"


#: While the address may change: whatever can still be shipped.
BEFORE_SHIPPING: Final = ("placed", "paid")


async def get(session: Session, caller: AnyCaller, order_id: int) -> Order:
    row = await orders.get(session, order_id, viewer_id=caller.sees_only)
    if row is None:
        raise NotFound("There is no such order.")
    return Order.of(row)


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
    """One's own orders, or for whom may everybody's; both days are part of the time asked for."""
    viewer_id = caller.sees_only
    if user_id is not None and viewer_id is not None and user_id != viewer_id:
        raise _other_peoples()
    return await orders.find(
        session,
        page,
        user_id=user_id if viewer_id is None else viewer_id,
        status=status,
        placed_from=datetime.combine(placed_from, time.min, UTC) if placed_from else None,
        placed_until=datetime.combine(placed_until, time.max, UTC) if placed_until else None,
    )


async def place(session: Session, settings: Settings, caller: AnyCaller, new: OrderCreate) -> Order:
    """Sell all lines or none. Locks the customer, then the items, so that nothing changes meanwhile.

    What is wrong with the request is told first, then what is not allowed, then what the catalogue
    and the rules say, and last whether there is stock.
    """
    requested = requested_lines(new)
    _refuse_privileges(caller, new, requested)
    customer_id = new.user_id or caller.user_id
    if customer_id is None:
        raise _no_customer("An API key acts for nobody: name the customer.", "missing")
    customer = await _lock_accounts(session, caller, customer_id)
    if customer is None or not customer.is_active:
        raise _no_customer()
    locked = {row.id: row for row in await stock.lock(session, {each.line.product_id for each in requested})}
    lines = price_lines(requested, locked)
    _refuse_withdrawn(requested, locked)
    if not caller.may(AGREE):
        refuse_other_prices(lines, locked)
    sums = sum_up(new, lines, settings.shipping_rates.get(new.shipping, NOTHING))
    refuse_missing_stock(lines, locked)
    values = order_values(new, sums, settings.currency) | {
        "user_id": customer_id,
        "customer_name": customer.full_name,
        "status": "placed",
        "ship_to": new.ship_to.model_dump() if new.ship_to else customer.address,
    }
    # Staff may exceed them: they are there so that no customer holds stock for nothing.
    verified = customer.email_verified
    bounds = None if caller.may(AGREE) else _bounds(settings, email_verified=verified)
    row = await orders.add(session, values, lines, by=caller.acts_as, bounds=bounds)
    if row is None:
        assert bounds is not None  # noqa: S101 - nothing else refuses it
        units = sum(line.quantity for line in lines)
        raise await _over_bounds(session, customer_id, bounds, units=units, email_verified=verified)
    return await _sell(session, caller, row, lines)


async def _sell(session: Session, caller: AnyCaller, row: Record, lines: Sequence[Line]) -> Order:
    """Take the stock of a new order, and tell everybody of it."""
    changed = await stock.record_movements(
        session,
        {line.product_id: -line.quantity for line in lines},
        kind="sale",
        reason=f"Order {row.id}",
        actor_id=caller.user_id,
        order_id=row.id,
    )
    order = Order.of({**row._asdict(), "lines": [OrderLine.sold(line) for line in lines]})
    await notifications.notify_order_status(session, order, f"{order.total} {order.currency} in total.")
    await _note(session, caller, order, "order.placed")
    await events.add_order(session, "order.placed", order.model_dump(mode="json"), row)
    await notifications.notify_low_stock(session, changed)
    await events.add_low_stock(session, changed)
    return order


def _bounds(settings: Settings, *, email_verified: bool) -> Bounds:
    """Fewer units until the e-mail address is verified: an account is had for the asking."""
    units = settings.reserved_units_limit
    if not email_verified:
        units = min(units, settings.reserved_units_limit_unverified)
    return Bounds(MOST_UNPAID, units, settings.cancelled_orders_limit)


async def _over_bounds(
    session: Session, user_id: int, bounds: Bounds, *, units: int, email_verified: bool
) -> ServiceError:
    """Why an order of so many units was not added, and what to do. The caller holds the customer's lock."""
    held = await reservations.get(session, user_id, most_cancelled=bounds.cancelled)
    if held.unpaid >= bounds.unpaid:
        return TooManyUnpaid(f"There are {held.unpaid} unpaid orders already. Pay or cancel one first.")
    if held.units + units > bounds.units:
        advice = (
            "" if email_verified else " Verify your e-mail address (POST /auth/verify-email) to order more."
        )
        detail = (
            f"Unpaid orders may hold {bounds.units} units together; yours hold {held.units}, and this one"
            f" would add {units}. Order fewer, or pay or cancel an order first.{advice}"
        )
        numbers = {"limit": bounds.units, "reserved": held.units, "requested": units}
        return TooManyReserved(detail, extra=numbers)
    wait = max(1, held.wait or 1)
    return TooManyCancelled(
        f"{bounds.cancelled} orders of the last hour were cancelled before they were paid."
        f" Order again in {wait} s.",
        retry_after=wait,
    )


async def redirect(
    session: Session,
    caller: AnyCaller,
    order_id: int,
    ship_to: ShipToIn,
    *,
    expected: Versions | None = None,
) -> Order:
    """Send it elsewhere, before it ships."""
    await _lock_staff(session, caller)
    changed = await orders.change(
        session,
        order_id,
        viewer_id=caller.sees_only,
        sources=BEFORE_SHIPPING,
        values={"ship_to": ship_to.model_dump()},
        versions=None if isinstance(expected, AllBut) else expected,
        other_than=expected.versions if isinstance(expected, AllBut) else frozenset(),
    )
    if changed is None:
        order = await get(session, caller, order_id)
        require(expected, order)
        raise InvalidTransition(f"The address of an order that is {order.status} cannot change any more.")
    order = Order.of(changed)
    await _note(session, caller, order, "order.redirected")
    return order


async def _lock_accounts(session: Session, caller: AnyCaller, customer_id: int) -> Record | None:
    """The customer. Who orders for another is locked before, as where accounts are administered."""
    if customer_id != caller.user_id:
        await _lock_staff(session, caller)
    customer = await get_customer(session, customer_id, lock=True)
    if customer_id == caller.user_id:
        await _lock_staff(session, caller)
    return customer


async def _lock_staff(session: Session, caller: AnyCaller) -> None:
    """Customers act on orders of their own, all day: what memory says of their access is enough."""
    if caller.acts_as != "customer":
        await callers.lock(session, caller)


async def _note(session: Session, caller: AnyCaller, order: Order, action: str) -> None:
    data = {"user_id": order.user_id, "total": str(order.total)}
    await audit.record(session, action, by=caller, target_kind="order", target_id=order.id, data=data)


def _refuse_privileges(caller: AnyCaller, new: OrderCreate, requested: Sequence[RequestedLine]) -> None:
    if not caller.may(AGREE):
        _refuse_staff_fields(new.user_id, [each.line.discount_pct for each in requested])


def _refuse_staff_fields(user_id: object, discounts: Iterable[Decimal | None]) -> None:
    if user_id is not None:
        raise Forbidden("Only administrators may order for somebody else: leave out `user_id`.")
    if any(discounts):
        raise Forbidden("Only administrators may give a discount: leave out `discount_pct`.")


def _refuse_withdrawn(requested: Iterable[RequestedLine], items: Mapping[int, Record]) -> None:
    """Without their names: what was never for sale may have a name that is nobody's business yet."""
    withdrawn = [each for each in requested if not items[each.line.product_id].is_active]
    if withdrawn:
        ids = sorted({each.line.product_id for each in withdrawn})
        named = ", ".join(str(item_id) for item_id in ids[:3]) + (", ..." if len(ids) > 3 else "")
        detail = f"No longer for sale: {named}. `products` has all of them; order again without them."
        gone = "This product is no longer for sale: leave it out."
        faults = tuple(
            FieldFault(f"{each.pointer}/product_id", gone, ItemWithdrawn.code) for each in withdrawn
        )
        products = [{"product_id": item_id} for item_id in ids]
        raise ItemWithdrawn(detail, errors=faults, extra={"products": products})


async def require_may_send(_: Session, caller: AnyCaller, body: Any) -> None:
    """Refuse an order that is not the caller's to place, though it may be wrong otherwise.

    Raises Forbidden, as `place` does.
    """
    if caller.may(AGREE) or not isinstance(body, dict):
        return
    lines = body.get("lines")
    parts = [body, *(lines if isinstance(lines, list) else ())]
    sent = [part.get("discount_pct") for part in parts if isinstance(part, dict)]
    _refuse_staff_fields(body.get("user_id"), map(_amount, sent))


def _amount(sent: Any) -> Decimal | None:
    """None for what is no amount, which is told as a fault."""
    try:
        return Decimal(str(sent)) if isinstance(sent, str | int | float) else None
    except InvalidOperation:
        return None


async def require_may_list(_: Session, caller: AnyCaller, user_id: str) -> None:
    """Raises Forbidden for another person's orders, as `find` does."""
    if caller.sees_only is not None and user_id != str(caller.sees_only) and user_id.isdecimal():
        raise _other_peoples()


def _other_peoples() -> Forbidden:
    return Forbidden("Only administrators may list other people's orders.")


def _no_customer(detail: str = "There is no such customer.", code: str = "unknown_user") -> Unprocessable:
    fault = FieldFault("/user_id", detail, code)
    return Unprocessable(fault.detail, errors=(fault,))
