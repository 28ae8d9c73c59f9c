"""The state machine of orders: pay, ship, deliver, cancel and refund, and what refuses each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from service import catalogue
from service.identity import AnyCaller
from service.orders import repository as orders
from service.orders.errors import AddressRequired, InvalidTransition, OrderNotFound
from service.orders.schemas import Order
from service.orders.service import announce, lock_staff
from service.platform.database import Record, Session


@dataclass(frozen=True, slots=True)
class Transition:
    sources: tuple[str, ...]
    target: str


#: Any other transition is refused; triggers in the database refuse it too.
TRANSITIONS: Final[Mapping[str, Transition]] = {
    "pay": Transition(("placed",), "paid"),
    "ship": Transition(("paid",), "shipped"),
    "deliver": Transition(("shipped",), "delivered"),
    "cancel": Transition(("placed", "paid"), "cancelled"),
    "expire": Transition(("placed",), "cancelled"),
    "refund": Transition(("cancelled",), "refunded"),
}


async def pay(session: Session, caller: AnyCaller, order_id: int, reference: str) -> Order:
    """`reference` is the payment system's, of a payment that it has received."""
    order = await _transition(session, caller, order_id, "pay", {"payment_reference": reference})
    return await announce(session, caller, order, f"{order.total} {order.currency} received.")


async def ship(session: Session, caller: AnyCaller, order_id: int, tracking: str) -> Order:
    order = await _transition(session, caller, order_id, "ship", {"tracking": tracking})
    return await announce(session, caller, order, f"Tracking: {tracking}")


async def deliver(session: Session, caller: AnyCaller, order_id: int) -> Order:
    order = await _transition(session, caller, order_id, "deliver", {})
    return await announce(session, caller, order, "")


async def refund(session: Session, caller: AnyCaller, order_id: int, reference: str) -> Order:
    """`reference` is the payment system's, of a refund that it has made."""
    order = await _transition(session, caller, order_id, "refund", {"refund_reference": reference})
    return await announce(session, caller, order, f"{order.total} {order.currency} given back.")


async def cancel(session: Session, caller: AnyCaller | None, order_id: int, reason: str | None) -> Order:
    """Cancel an order that has not shipped, and put its stock back.

    Without a caller the system cancels what is unpaid: an order that has been paid meanwhile is refused.
    """
    name = "expire" if caller is None else "cancel"
    order = await _transition(session, caller, order_id, name, {"cancel_reason": reason})
    put_back = await catalogue.put_back_stock(session, order_id, by=caller)
    refund = "What was paid will be given back." if order.refund_due else ""
    return await announce(session, caller, order, refund, put_back)


async def _transition(
    session: Session, caller: AnyCaller | None, order_id: int, name: str, values: Mapping[str, Any]
) -> Order:
    """The order after the transition. Of two at once, one finds it in its source state and wins."""
    transition, viewer_id = TRANSITIONS[name], caller.sees_only if caller else None
    await lock_staff(session, caller)
    while True:
        changed = await orders.transition(
            session,
            order_id,
            viewer_id=viewer_id,
            sources=transition.sources,
            target=transition.target,
            by=caller.acts_as if caller else "system",
            values=values,
        )
        if changed is not None:
            return Order.of(changed)
        _refuse(transition, await orders.get(session, order_id, viewer_id=viewer_id))
        # Another transition has made this one possible meanwhile: try again.


def _refuse(transition: Transition, order: Record | None) -> None:
    """Raises the reason against the transition, if there is one."""
    if order is None:
        raise OrderNotFound
    if order.status not in transition.sources:
        raise InvalidTransition(
            f"The order is {order.status}. Only an order that is {' or '.join(transition.sources)} can be"
            f" {transition.target}."
        )
    if transition.target == "shipped" and order.ship_to is None:
        raise AddressRequired("The order has no shipping address: set it with PUT /orders/{id}/ship-to.")
    if transition.target == "refunded" and not order.refund_due:
        raise InvalidTransition(
            "The order was cancelled before it was paid. Only a paid order can be refunded."
        )
