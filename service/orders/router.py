"""Orders."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Body, Depends, Path, Query

from service.accounts import HOME, ShipToIn
from service.catalogue import OutOfStock
from service.errors import ExternalIdTaken
from service.identity.dependencies import AllOrdersWriter, OrdersReader, OrdersWriter
from service.orders import service as orders
from service.orders import transitions
from service.orders.errors import ItemWithdrawn, PriceChanged, TooManyReserved
from service.orders.lists import repository
from service.orders.lists import service as lists
from service.orders.lists.filters import Filters
from service.orders.placing import service as placing
from service.orders.schemas import (
    Cancellation,
    Delivery,
    Order,
    OrderCreate,
    OrderPatch,
    Payment,
    Refund,
    Shipment,
    Sort,
    Status,
)
from service.platform.http.access import AccessCheck
from service.platform.http.documents import Document
from service.platform.http.etag.conditions import IfMatch
from service.platform.http.etag.versions import Versions
from service.platform.http.idempotency.retries import key_required
from service.platform.http.injection import Located, ReaderDep, SessionDep, SettingsDep
from service.platform.http.listing import ONE_OF, SEARCH_RESULTS, ChangesAfter, ListingDep, follows
from service.platform.http.metadata import PARAMETER, WantedMetadata
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID, Day, ExternalId, Removed, ShortLine

router = api_router("/orders", tags=["orders"])

IfOrder = Annotated[Versions | None, Depends(IfMatch(Order))]
OrderId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS, AccessCheck(orders.get)]


@router.post(
    "",
    status_code=201,
    responses=problems(403, ExternalIdTaken, ItemWithdrawn, OutOfStock, PriceChanged, TooManyReserved),
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


@router.get("", responses=problems(403) | follows(SEARCH_RESULTS), openapi_extra={"parameters": [PARAMETER]})
async def list_orders(
    caller: OrdersReader,
    listing: ListingDep,
    reader: ReaderDep,
    changes_after: ChangesAfter,
    *,
    user_id: Annotated[
        int | None,
        Query(
            ge=1,
            le=MAX_ID,
            description="Only orders of this customer. For staff and API keys only.",
        ),
        DIGITS,
        AccessCheck(lists.require_may_list),
    ] = None,
    status: Annotated[Status | None, Query(description="Only orders with this status.")] = None,
    placed_from: Annotated[
        Day | None, Query(description="Only orders placed on this day (UTC) or later.")
    ] = None,
    placed_until: Annotated[
        Day | None, Query(description="Only orders placed on this day (UTC) or earlier.")
    ] = None,
    reference: Annotated[
        ShortLine | None,
        Query(description="Only orders with this reference of the customer's.", examples=["PO 4711"]),
    ] = None,
    external_id: Annotated[
        ExternalId | None,
        Query(description="Only the order with this external id. For staff and API keys only."),
        AccessCheck(lists.require_may_look),
    ] = None,
    search: Annotated[
        ShortLine | None,
        Query(
            description="An order's number, or a part of the name or the e-mail address of its customer's"
            " account. For staff and API keys only.",
            examples=["anders"],
        ),
        AccessCheck(lists.require_may_search),
    ] = None,
    metadata: Annotated[str | None, WantedMetadata, AccessCheck(lists.require_may_look)],
    sort: Annotated[Sort, Query(description="The order; `-` reverses it.")] = "-placed_at",
) -> Document[Sequence[Annotated[Order | Removed, ONE_OF]]]:
    """List orders. Users get their own, staff and API keys all; the newest come first."""
    if changes_after is not None:
        rows = await repository.find_changes(reader, listing.page, changes_after, viewer_id=caller.sees_only)
        return listing.changes(rows)
    filters = Filters(user_id, status, placed_from, placed_until, reference, external_id, search, metadata)
    return listing.document(Order, await lists.find(reader, caller, listing.page, filters, sort=sort))


@router.get("/{order_id}", responses=problems(404))
async def get_order(order_id: OrderId, caller: OrdersReader, reader: ReaderDep) -> Document[Order]:
    """Get an order. Users may read their own orders, staff and API keys any."""
    row = await orders.get_document(reader, caller, order_id)
    return Document.of(Order, row, for_staff=caller.sees_only is None)


@router.patch("/{order_id}", responses=problems(403, 404, ExternalIdTaken))
async def update_order(
    order_id: OrderId,
    patch: OrderPatch,
    caller: AllOrdersWriter,
    expected: IfOrder,
    session: SessionDep,
) -> Order:
    """Update an order. Changes what the shop keeps about it and its customer does not see, in any status.

    Needs `orders:write`.
    """
    return await orders.update(session, caller, order_id, patch, expected=expected)


@router.post("/{order_id}/cancel", responses=problems(404, 409))
async def cancel_order(
    order_id: OrderId, caller: OrdersWriter, session: SessionDep, cancellation: Cancellation | None = None
) -> Order:
    """Cancel an order. It must be placed or paid; its units go back into stock."""
    return await transitions.cancel(session, caller, order_id, cancellation.reason if cancellation else None)


@router.post("/{order_id}/pay", responses=problems(403, 404, 409))
async def pay_order(
    order_id: OrderId, payment: Payment, caller: AllOrdersWriter, session: SessionDep
) -> Order:
    """Mark an order as paid. It must be placed.

    Needs `orders:write`.
    """
    return await transitions.pay(session, caller, order_id, payment.reference)


@router.post("/{order_id}/ship", responses=problems(403, 404, 409))
async def ship_order(
    order_id: OrderId, shipment: Shipment, caller: AllOrdersWriter, session: SessionDep
) -> Order:
    """Mark an order as shipped. It must be paid, and have a shipping address.

    Needs `orders:write`.
    """
    return await transitions.ship(session, caller, order_id, shipment.tracking)


@router.post("/{order_id}/deliver", responses=problems(403, 404, 409))
async def deliver_order(
    order_id: OrderId, caller: AllOrdersWriter, session: SessionDep, _: Delivery | None = None
) -> Order:
    """Mark an order as delivered. It must be shipped.

    Needs `orders:write`.
    """
    return await transitions.deliver(session, caller, order_id)


@router.post("/{order_id}/refund", responses=problems(403, 404, 409))
async def refund_order(
    order_id: OrderId, refund: Refund, caller: AllOrdersWriter, session: SessionDep
) -> Order:
    """Mark an order as refunded. It must have been paid before it was cancelled.

    Needs `orders:write`.
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
