"""Orders."""

from typing import Annotated

from fastapi import Body, Depends, Path, Query

from service.accounts import HOME, ShipToIn
from service.catalogue import OutOfStock
from service.identity.dependencies import OrdersAdministrator, OrdersReader, OrdersWriter
from service.orders import service as orders
from service.orders import transitions
from service.orders.errors import ItemWithdrawn, PriceChanged, TooManyReserved
from service.orders.placing import service as placing
from service.orders.schemas import (
    Cancellation,
    Delivery,
    Order,
    OrderCreate,
    Payment,
    Refund,
    Shipment,
    Status,
)
from service.platform.http.access import AccessCheck
from service.platform.http.documents import Document
from service.platform.http.etag.conditions import IfMatch
from service.platform.http.etag.versions import Versions
from service.platform.http.idempotency.retries import key_required
from service.platform.http.injection import Located, ReaderDep, SessionDep, SettingsDep
from service.platform.http.listing import ListingDep
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID, Day

router = api_router("/orders", tags=["orders"])

IfOrder = Annotated[Versions | None, Depends(IfMatch(Order))]
OrderId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS, AccessCheck(orders.get)]


@router.post(
    "",
    status_code=201,
    responses=problems(403, ItemWithdrawn, OutOfStock, PriceChanged, TooManyReserved),
)
@key_required
async def create_order(
    new: Annotated[OrderCreate, AccessCheck(placing.require_may_send)],
    caller: OrdersWriter,
    session: SessionDep,
    settings: SettingsDep,
    located: Located,
) -> Order:
    """Create an order. Takes the units of all lines out of stock, or refuses the whole order."""
    order = await placing.place(session, settings, caller, new)
    located(order.id)
    return order


@router.get("", responses=problems(403))
async def list_orders(
    caller: OrdersReader,
    listing: ListingDep,
    reader: ReaderDep,
    *,
    user_id: Annotated[
        int | None,
        Query(
            ge=1,
            le=MAX_ID,
            description="Only orders of this customer. For administrators and API keys only.",
        ),
        DIGITS,
        AccessCheck(orders.require_may_list),
    ] = None,
    status: Annotated[Status | None, Query(description="Only orders with this status.")] = None,
    placed_from: Annotated[
        Day | None, Query(description="Only orders placed on this day (UTC) or later.")
    ] = None,
    placed_until: Annotated[
        Day | None, Query(description="Only orders placed on this day (UTC) or earlier.")
    ] = None,
) -> Document[list[Order]]:
    """List orders. Users get their own, administrators and API keys all; the newest come first."""
    rows = await orders.find(
        reader,
        caller,
        listing.page,
        user_id=user_id,
        status=status,
        placed_from=placed_from,
        placed_until=placed_until,
    )
    return listing.document(Order, rows)


@router.get("/{order_id}", responses=problems(404))
async def get_order(order_id: OrderId, caller: OrdersReader, reader: ReaderDep) -> Document[Order]:
    """Get an order. Users may read their own orders, administrators and API keys any."""
    return Document.of(Order, await orders.get_document(reader, caller, order_id))


@router.post("/{order_id}/cancel", responses=problems(404, 409))
async def cancel_order(
    order_id: OrderId, caller: OrdersWriter, session: SessionDep, cancellation: Cancellation | None = None
) -> Order:
    """Cancel an order. It must be placed or paid; its units go back into stock."""
    return await transitions.cancel(session, caller, order_id, cancellation.reason if cancellation else None)


@router.post("/{order_id}/pay", responses=problems(403, 404, 409))
async def pay_order(
    order_id: OrderId, payment: Payment, caller: OrdersAdministrator, session: SessionDep
) -> Order:
    """Mark an order as paid. It must be placed.

    Needs an administrator or an API key with `orders:write`.
    """
    return await transitions.pay(session, caller, order_id, payment.reference)


@router.post("/{order_id}/ship", responses=problems(403, 404, 409))
async def ship_order(
    order_id: OrderId, shipment: Shipment, caller: OrdersAdministrator, session: SessionDep
) -> Order:
    """Mark an order as shipped. It must be paid, and have a shipping address.

    Needs an administrator or an API key with `orders:write`.
    """
    return await transitions.ship(session, caller, order_id, shipment.tracking)


@router.post("/{order_id}/deliver", responses=problems(403, 404, 409))
async def deliver_order(
    order_id: OrderId, caller: OrdersAdministrator, session: SessionDep, _: Delivery | None = None
) -> Order:
    """Mark an order as delivered. It must be shipped.

    Needs an administrator or an API key with `orders:write`.
    """
    return await transitions.deliver(session, caller, order_id)


@router.post("/{order_id}/refund", responses=problems(403, 404, 409))
async def refund_order(
    order_id: OrderId, refund: Refund, caller: OrdersAdministrator, session: SessionDep
) -> Order:
    """Mark an order as refunded. It must have been paid before it was cancelled.

    Needs an administrator or an API key with `orders:write`.
    """
    return await transitions.refund(session, caller, order_id, refund.reference)


@router.put("/{order_id}/ship-to", responses=problems(404, 409))
async def change_ship_to(
    order_id: OrderId,
    ship_to: Annotated[ShipToIn, Body(examples=[HOME])],
    caller: OrdersWriter,
    expected: IfOrder,
    session: SessionDep,
) -> Order:
    """Change an order's shipping address. The order must be placed or paid."""
    return await orders.change_ship_to(session, caller, order_id, ship_to, expected=expected)
