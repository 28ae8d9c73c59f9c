"""Orders: placing them, moving them through their states, and recording those of the past."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Final

from pydantic import ValidationError

from service.config import Settings
from service.database import Record, Session
from service.errors import (
    FieldFault,
    Forbidden,
    IllegalMove,
    NotFound,
    TooManyUnpaid,
    Unprocessable,
)
from service.pagination import Page
from service.repositories import audit, notifications, orders, stock
from service.schemas.orders import Order
from service.schemas.placing import OrderCreate, PastOrder
from service.schemas.pricing import (
    NOTHING,
    Asked,
    Line,
    Sums,
    agree,
    asked_for,
    refuse,
    refuse_missing_stock,
    refuse_other_prices,
    sum_up,
)
from service.schemas.users import AddressIn
from service.security import AnyCaller, KeyCaller

MOST_UNPAID: Final = 20
#: What lets a key do for customers what administrators may: enter the prices that were agreed.
AGREE: Final = "orders:write"


@dataclass(frozen=True, slots=True)
class Move:
    sources: tuple[str, ...]
    target: str
    #: Whether it starts from an order whose payment is to be given back. Only cancelled ones are.
    refund_due: bool = False


#: The state machine. Any other move is refused, whoever asks for it.
MOVES: Final[Mapping[str, Move]] = {
    "pay": Move(("placed",), "paid"),
    "ship": Move(("paid",), "shipped"),
    "deliver": Move(("shipped",), "delivered"),
    "cancel": Move(("placed", "paid"), "cancelled"),
    "refund": Move(("cancelled",), "refunded", refund_due=True),
}
#: While the address may change: whatever can still be shipped.
BEFORE_SHIPPING: Final = ("placed", "paid")


async def get(session: Session, caller: AnyCaller, order_id: int) -> Order:
    row = await orders.get(session, order_id, viewer_id=_viewer(caller))
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
    viewer_id = _viewer(caller)
    if user_id is not None and viewer_id is not None and user_id != viewer_id:
        raise Forbidden("Only administrators may list other people's orders.")
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
    asked = asked_for(new)
    _refuse_privileges(caller, new, asked)
    customer_id = new.user_id or caller.user_id
    if customer_id is None:
        raise _no_customer("An API key acts for nobody: name the customer.", "missing")
    customer = await orders.get_customer(session, customer_id, lock=True)
    if customer is None or not customer.is_active:
        raise _no_customer()
    locked = {row.id: row for row in await stock.lock(session, {each.line.product_id for each in asked})}
    lines = agree(asked, {item_id: row for item_id, row in locked.items() if row.is_active})
    if not caller.may(AGREE):
        refuse_other_prices(lines, locked)
    sums = sum_up(new, lines, settings.shipping_rates.get(new.shipping, NOTHING))
    refuse_missing_stock(lines, locked)
    values = _values(new, sums, settings.currency) | {
        "user_id": customer_id,
        "customer_name": customer.full_name,
        "status": "placed",
        "ship_to": new.ship_to.model_dump() if new.ship_to else customer.address,
    }
    return await _sell(session, caller, values, lines)


async def _sell(
    session: Session, caller: AnyCaller, values: Mapping[str, Any], lines: Sequence[Line]
) -> Order:
    # Staff may exceed it: it is there so that no customer holds stock for nothing.
    most_unpaid = None if caller.may(AGREE) else MOST_UNPAID
    row = await orders.add(session, values, lines, most_unpaid=most_unpaid)
    if row is None:
        raise TooManyUnpaid(f"There are {MOST_UNPAID} unpaid orders already. Pay or cancel one first.")
    moved = await stock.move(
        session,
        {line.product_id: -line.quantity for line in lines},
        kind="sale",
        reason=f"Order {row.id}",
        actor_id=caller.user_id,
        order_id=row.id,
    )
    order = Order.of({**row._asdict(), "lines": lines})
    await _tell(session, caller, order, f"{order.total} {order.currency} in total.")
    await notifications.tell_low_stock(session, moved)
    return order


async def cancel(session: Session, caller: AnyCaller, order_id: int, reason: str | None) -> Order:
    """Before it ships. Puts back what the ledger says it took: an imported order took nothing."""
    await _move(session, caller, order_id, "cancel", {"cancel_reason": reason})
    taken = await orders.get_taken(session, order_id)
    if taken:
        await stock.lock(session, taken)
        await stock.move(
            session,
            taken,
            kind="return",
            reason=f"Order {order_id} cancelled",
            actor_id=caller.user_id,
            order_id=order_id,
        )
    order = await get(session, caller, order_id)
    await _tell(session, caller, order, "What was paid will be given back." if order.refund_due else "")
    return order


async def redirect(session: Session, caller: AnyCaller, order_id: int, ship_to: AddressIn) -> Order:
    """Send it elsewhere, before it ships."""
    changed = await orders.change(
        session,
        order_id,
        viewer_id=_viewer(caller),
        sources=BEFORE_SHIPPING,
        refund_due=False,
        values={"ship_to": ship_to.model_dump()},
    )
    order = await get(session, caller, order_id)
    if not changed:
        raise IllegalMove(f"The address of an order that is {order.status} cannot change any more.")
    await _note(session, caller, order, "order.redirected")
    return order


async def record_history(
    session: Session, past: Mapping[str, Any], *, products: Mapping[int, Record], currency: str
) -> int:
    """Record an order from before this installation; its id. Moves no stock and tells nobody.

    It goes through the validation and the arithmetic of `place`. `past` has the fields of
    schemas.placing.PastOrder, which are those that an administrator posts to /orders, and shipping_fee,
    status and dates; amounts and dates may be strings, as a file has them:

        {"user_id": 5, "lines": [{"product_id": 11, "quantity": 12, "unit_price": "14.00",
         "discount_pct": "5.00"}], "shipping": "overnight", "shipping_fee": "32.38",
         "ship_to": {"street": ..., "city": ..., "country": "FR"}, "reference": "NW-10248",
         "status": "delivered", "placed_at": "1996-07-04", "paid_at": ..., "delivered_at": ...}

    Every line needs its unit_price: today's is not what was paid. Without ship_to there is none; the
    profile's address of today is not copied. Products may be withdrawn and the customer inactive.
    `products` comes from repositories.orders.get_products, read once for many orders. Whether a
    reference was recorded before is the caller's to know, by repositories.orders.get_references.

    Raises:
        Unprocessable: as the API would, with a fault for each field, its pointer into `past`.
    """
    try:
        new = PastOrder.model_validate(past)
    except ValidationError as fault:
        raise _unreadable(fault) from None
    asked = asked_for(new)
    unpriced = [each for each in asked if each.line.unit_price is None]
    refuse(FieldFault(f"{each.pointer}/unit_price", "Field required", "missing") for each in unpriced)
    customer = await orders.get_customer(session, new.user_id)
    if customer is None:
        raise _no_customer()
    lines = agree(asked, products)
    sums = sum_up(new, lines, new.shipping_fee)
    moments = ("placed_at", "paid_at", "shipped_at", "delivered_at")
    values = _values(new, sums, currency) | {name: getattr(new, name) for name in moments}
    values |= {"user_id": new.user_id, "customer_name": customer.full_name, "status": new.status}
    values["ship_to"] = new.ship_to.model_dump() if new.ship_to else None
    row = await orders.add(session, values, lines)
    assert row is not None  # noqa: S101 - only a bound on unpaid orders would refuse it
    order_id: int = row.id
    return order_id


def _viewer(caller: AnyCaller) -> int | None:
    """Whose orders the caller may see: None stands for everybody's.

    Those a key is for, whatever it may do with them: the route has asked which of its scopes it needs.
    """
    return None if isinstance(caller, KeyCaller) or caller.is_admin else caller.user_id


async def _move(
    session: Session, caller: AnyCaller, order_id: int, name: str, values: Mapping[str, Any]
) -> None:
    move = MOVES[name]
    moved = await orders.transition(
        session,
        order_id,
        viewer_id=_viewer(caller),
        sources=move.sources,
        refund_due=move.refund_due,
        target=move.target,
        values=values,
    )
    if not moved:
        order = await get(session, caller, order_id)
        raise IllegalMove(f"An order that is {order.status} cannot be {move.target}.")


async def _tell(session: Session, caller: AnyCaller, order: Order, body: str) -> None:
    """The customer is told of the order's new state, and the audit log who brought it there."""
    kind, title = f"order.{order.status}", f"Order {order.id} is {order.status}"
    data = {"order_id": order.id, "status": order.status, "total": str(order.total)}
    await notifications.add(session, order.user_id, kind=kind, title=title, body=body, data=data)
    await _note(session, caller, order, kind)


async def _note(session: Session, caller: AnyCaller, order: Order, action: str) -> None:
    data = {"user_id": order.user_id, "total": str(order.total)}
    await audit.add(session, action, by=caller, target_kind="order", target_id=order.id, data=data)


def _refuse_privileges(caller: AnyCaller, new: OrderCreate, asked: Sequence[Asked]) -> None:
    if caller.may(AGREE):
        return
    if new.user_id is not None:
        raise Forbidden("Only administrators may order for somebody else: leave out `user_id`.")
    if any(each.line.discount_pct for each in asked):
        raise Forbidden("Only administrators may give a discount: leave out `discount_pct`.")


def _values(new: OrderCreate, sums: Sums, currency: str) -> dict[str, Any]:
    return {
        "shipping": new.shipping,
        "subtotal": sums.subtotal,
        "discount": sums.discount,
        "shipping_fee": sums.shipping_fee,
        "total": sums.total,
        "currency": currency,
        "reference": new.reference,
    }


def _no_customer(detail: str = "There is no such customer.", code: str = "unknown_user") -> Unprocessable:
    fault = FieldFault("/user_id", detail, code)
    return Unprocessable(fault.detail, errors=(fault,))


def _unreadable(error: ValidationError) -> Unprocessable:
    """With the faults as the edge names those of a body."""
    faults = tuple(
        FieldFault("".join(f"/{part}" for part in fault["loc"]), fault["msg"], fault["type"])
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    )
    return Unprocessable("; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults), errors=faults)
