"""The order's life after it is placed: from one state to the next, and to nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from service import audit, notifications
from service.catalogue.stock import repository as stock
from service.errors import AddressRequired, InvalidTransition, NotFound
from service.events import repository as events
from service.events.models import EventType
from service.identity import locks as callers
from service.identity.callers import AnyCaller
from service.orders import repository as orders
from service.orders.schemas import Order
from service.platform.database import Record, Session


@dataclass(frozen=True, slots=True)
class Transition:
    sources: tuple[str, ...]
    target: str


#: The state machine. Any other transition is refused, whoever asks for it; the database holds it too.
TRANSITIONS: Final[Mapping[str, Transition]] = {
    "pay": Transition(("placed",), "paid"),
    "ship": Transition(("paid",), "shipped"),
    "deliver": Transition(("shipped",), "delivered"),
    "cancel": Transition(("placed", "paid"), "cancelled"),
    "expire": Transition(("placed",), "cancelled"),
    "refund": Transition(("cancelled",), "refunded"),
}


#: What webhooks and mails are sent of. Money given back is between the shop and its customer.
EVENT_BY_STATUS: Final[Mapping[str, EventType]] = {
    "paid": "order.paid",
    "shipped": "order.shipped",
    "delivered": "order.delivered",
    "cancelled": "order.cancelled",
}


async def pay(session: Session, caller: AnyCaller, order_id: int, reference: str) -> Order:
    """The payment system has the money, and calls the payment by this reference."""
    order = await _transition(session, caller, order_id, "pay", {"payment_reference": reference})
    return await _announce(session, caller, order, f"{order.total} {order.currency} received.")


async def ship(session: Session, caller: AnyCaller, order_id: int, tracking: str) -> Order:
    order = await _transition(session, caller, order_id, "ship", {"tracking": tracking})
    return await _announce(session, caller, order, f"Tracking: {tracking}")


async def deliver(session: Session, caller: AnyCaller, order_id: int) -> Order:
    order = await _transition(session, caller, order_id, "deliver", {})
    return await _announce(session, caller, order, "")


async def refund(session: Session, caller: AnyCaller, order_id: int, reference: str) -> Order:
    """What was paid for a cancelled order has been given back."""
    order = await _transition(session, caller, order_id, "refund", {"refund_reference": reference})
    return await _announce(session, caller, order, f"{order.total} {order.currency} given back.")


async def cancel(session: Session, caller: AnyCaller | None, order_id: int, reason: str | None) -> Order:
    """Before it ships. Puts back what the ledger says it took: an imported order took nothing.

    Without a caller it is the system's own act, which cancels what is unpaid: an order that has been paid
    meanwhile is refused.
    """
    name = "expire" if caller is None else "cancel"
    order = await _transition(session, caller, order_id, name, {"cancel_reason": reason})
    taken = await orders.get_taken(session, order_id)
    if taken:
        await stock.lock(session, taken)
        await stock.record_movements(
            session,
            taken,
            kind="return",
            reason=f"Order {order_id} cancelled",
            actor_id=caller.user_id if caller else None,
            order_id=order_id,
        )
    return await _announce(
        session, caller, order, "What was paid will be given back." if order.refund_due else ""
    )


async def _transition(
    session: Session, caller: AnyCaller | None, order_id: int, name: str, values: Mapping[str, Any]
) -> Record:
    """The order after the transition. Of two at once, one finds it in its source state and wins."""
    transition, viewer_id = TRANSITIONS[name], caller.sees_only if caller else None
    if caller is not None and caller.acts_as != "customer":
        await callers.lock(session, caller)
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
            return changed
        # If nothing speaks against it any more, somebody was quicker and made it possible: once more.
        _refuse(transition, await orders.get(session, order_id, viewer_id=viewer_id))


def _refuse(transition: Transition, order: Record | None) -> None:
    """Raises what speaks against the transition."""
    if order is None:
        raise NotFound("There is no such order.")
    if order.status not in transition.sources:
        raise InvalidTransition(f"An order that is {order.status} cannot be {transition.target}.")
    if transition.target == "shipped" and order.ship_to is None:
        raise AddressRequired("Nobody has said where the order goes: give it an address first.")
    if transition.target == "refunded" and not order.refund_due:
        raise InvalidTransition("An order that was cancelled unpaid cannot be refunded.")


async def _announce(session: Session, caller: AnyCaller | None, row: Record, body: str) -> Order:
    """The customer is told of the order's new state, and the audit log who brought it there."""
    order = Order.of(row)
    await notifications.notify_order_status(session, order, body)
    data = {"user_id": order.user_id, "total": str(order.total)}
    await audit.record(
        session,
        f"order.{order.status}",
        by=caller,
        target_kind="order",
        target_id=order.id,
        data=data,
    )
    if order.status in EVENT_BY_STATUS:
        await events.add_order(session, EVENT_BY_STATUS[order.status], order.model_dump(mode="json"), row)
    return order
