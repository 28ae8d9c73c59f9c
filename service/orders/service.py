"""Orders: reading them, changing their shipping address, and announcing what happens to them.

They are placed in placing/, listed in lists/, and what leads from one state to the next is in transitions.py.
"""

from collections.abc import Mapping
from typing import Any, Final

from service import audit, events
from service.accounts import ShipToIn
from service.catalogue import Movements
from service.errors import ExternalIdTaken, Forbidden
from service.events import EventType, NewEvent
from service.identity import AnyCaller, reauthorize
from service.notifications import NewNotification
from service.orders import repository as orders
from service.orders.errors import (
    InvalidTransition,
    OrderNotFound,
)
from service.orders.placing import repository as placing
from service.orders.placing.repository import Announcement
from service.orders.schemas import Order, OrderPatch
from service.platform.database import Record, Session
from service.platform.http import metadata as object_metadata
from service.platform.http.etag.versions import Versions, require

#: The states in which the shipping address may change.
BEFORE_SHIPPING: Final = ("placed", "paid")
#: What the event of each status is called.
EVENT_BY_STATUS: Final[Mapping[str, EventType]] = {
    "placed": "order.placed",
    "paid": "order.paid",
    "shipped": "order.shipped",
    "delivered": "order.delivered",
    "cancelled": "order.cancelled",
    "refunded": "order.refunded",
}


async def get(session: Session, caller: AnyCaller, order_id: int) -> Order:
    return Order.of(await get_row(session, caller, order_id))


async def get_row(session: Session, caller: AnyCaller, order_id: int) -> Record:
    """The order with what only its invoice names: the references of its payment and its refund."""
    row = await orders.get(session, order_id, viewer_id=caller.sees_only)
    if row is None:
        raise OrderNotFound
    return row


async def get_document(session: Session, caller: AnyCaller, order_id: int) -> Record:
    """The order as it is sent."""
    row = await orders.get_document(session, order_id, viewer_id=caller.sees_only)
    if row is None:
        raise OrderNotFound
    return row


async def lock_staff(session: Session, caller: AnyCaller | None) -> None:
    """Check the access of staff and keys in the database. Customers act on their own orders, all day: what
    the process knows of their access is enough.
    """
    if caller is not None and caller.acts_as != "customer":
        await reauthorize(session, caller)


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
        viewer_id=caller.changes_only,
        sources=BEFORE_SHIPPING,
        values={"ship_to": ship_to.model_dump()},
        expected=expected,
    )
    if changed is None:
        order = await get(session, caller, order_id)
        require_may_change(caller, order.user_id)
        require(expected, order)
        raise InvalidTransition(
            f"The order is {order.status}. Only the address of an order that is"
            f" {' or '.join(BEFORE_SHIPPING)} can change."
        )
    order = Order.of(changed)
    await audit.record(
        session,
        "order.redirected",
        by=caller,
        target_kind="order",
        target_id=order.id,
        data=_audited(order),
    )
    await events.publish_new(session, [_event("order.redirected", order)])
    return shown_to(caller, order)


def require_may_change(caller: AnyCaller, customer_id: int) -> None:
    """Raises Forbidden for another user's order, which the caller may see."""
    if caller.changes_only not in (None, customer_id):
        raise Forbidden("Only administrators and staff with the scope orders:write may change this order.")


def shown_to(caller: AnyCaller | None, order: Order) -> Order:
    """The order as this caller gets it."""
    return order if caller is None or caller.sees_only is None else order.for_customers()


async def update(
    session: Session,
    caller: AnyCaller,
    order_id: int,
    patch: OrderPatch,
    *,
    expected: Versions | None = None,
) -> Order:
    """Change what the shop keeps about an order, in whichever state it is. Its customer is not notified."""
    await lock_staff(session, caller)
    before = await orders.lock(session, order_id)
    if before is None:
        raise OrderNotFound
    require(expected, before)
    values = patch.model_dump(exclude_unset=True)
    if "metadata" in values:
        values["metadata"] = object_metadata.changed(before.metadata, values["metadata"])
    values = {name: value for name, value in values.items() if getattr(before, name) != value}
    if not values:
        return Order.of(before)
    row = await orders.set_fields(session, order_id, values)
    if row is None:
        raise ExternalIdTaken.by("order", await orders.get_id(session, values["external_id"]))
    await audit.record(
        session,
        "order.changed",
        by=caller,
        target_kind="order",
        target_id=order_id,
        data={"changed": sorted(values)},
    )
    order = Order.of(row)
    await events.publish_new(session, [_event("order.updated", order)])
    return order


async def announce(
    session: Session,
    caller: AnyCaller | None,
    order: Order,
    body: str,
    movements: Movements | None = None,
) -> Order:
    """Notify the customer of the order's status, and record it in the audit log and as an event; the stock
    that moves is written with that. Nothing else of the transaction may wait for a lock after this.

    The order as the caller gets it.
    """
    await placing.announce(session, announcement_of(caller, order, body, movements))
    return shown_to(caller, order)


def announcement_of(
    caller: AnyCaller | None, order: Order, body: str, movements: Movements | None
) -> Announcement:
    total, action = str(order.total), f"order.{order.status}"
    data = {"order_id": order.id, "status": order.status, "total": total}
    news = NewNotification(order.user_id, action, f"Order {order.id} is {order.status}", body, data)
    low = movements.low if movements else ()
    return Announcement(
        audit.entries(action, by=caller, target_kind="order", targets={order.id: _audited(order)}),
        [_event(EVENT_BY_STATUS[order.status], order), *(each.event for each in low)],
        [news, *(each.notification for each in low)],
        movements,
    )


def _event(event_type: EventType, order: Order) -> NewEvent:
    return NewEvent(event_type, order.id, order.for_events(), order.user_id)


def _audited(order: Order) -> dict[str, Any]:
    return {"user_id": order.user_id, "total": str(order.total)}
