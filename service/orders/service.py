"""Orders: reading them, changing their shipping address, and announcing what happens to them.

They are placed in placing/, and what leads from one state to the next is in transitions.py.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Final

from service import audit
from service.accounts import ShipToIn
from service.catalogue import Movements
from service.errors import Forbidden
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
from service.orders.schemas import Order
from service.platform.database import Record, Session
from service.platform.database.pagination import Page
from service.platform.http.etag.versions import Versions, require

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


async def get_document(session: Session, caller: AnyCaller, order_id: int) -> Record:
    """The order as it is sent."""
    row = await orders.get_document(session, order_id, viewer_id=caller.sees_only)
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
    """Documents of the caller's own orders; administrators and keys see all. Both days are included."""
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
    await audit.record(
        session,
        "order.redirected",
        by=caller,
        target_kind="order",
        target_id=order.id,
        data=_audited(order),
    )
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
    """
    await placing.announce(session, announcement_of(caller, order, body, movements))
    return order


def announcement_of(
    caller: AnyCaller | None, order: Order, body: str, movements: Movements | None
) -> Announcement:
    total, action = str(order.total), f"order.{order.status}"
    data = {"order_id": order.id, "status": order.status, "total": total}
    news = NewNotification(order.user_id, action, f"Order {order.id} is {order.status}", body, data)
    event = EVENT_BY_STATUS.get(order.status)
    published = [NewEvent(event, order.id, order.model_dump(mode="json"), order.user_id)] if event else []
    low = movements.low if movements else ()
    return Announcement(
        audit.entries(action, by=caller, target_kind="order", targets={order.id: _audited(order)}),
        [*published, *(each.event for each in low)],
        [news, *(each.notification for each in low)],
        movements,
    )


def _audited(order: Order) -> dict[str, Any]:
    return {"user_id": order.user_id, "total": str(order.total)}
