"""Recording orders from before this installation."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from service.accounts import get_customer
from service.errors import FieldFault, Unprocessable
from service.orders.placing import repository as placing
from service.orders.placing.service import no_customer
from service.orders.pricing import order_values, price_lines, refuse, requested_lines, sum_up
from service.orders.schemas import PastOrder
from service.platform.database import Record, Session
from service.platform.http.field_errors import REQUIRED, code_of, message

#: The moments that an order in this state has, besides that of its placing.
MOMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "paid": ("paid_at",),
    "delivered": ("paid_at", "shipped_at", "delivered_at"),
}


async def record_past_order(
    session: Session, past: Mapping[str, Any], *, products: Mapping[int, Record], currency: str
) -> int:
    """Record an order from before this installation; its id. Takes no stock, and announces nothing.

    It goes through the validation and the arithmetic of placing.service. `past` has the fields of
    schemas.PastOrder, which are those that an administrator posts to /orders, and shipping_fee,
    status and dates; amounts and dates may be strings, as a file has them:

        {"user_id": 5, "lines": [{"product_id": 11, "quantity": 12, "unit_price": "14.00",
         "discount_pct": "5.00"}], "shipping": "overnight", "shipping_fee": "32.38",
         "ship_to": {"street": ..., "city": ..., "country": "FR"}, "reference": "NW-10248",
         "status": "delivered", "placed_at": "1996-07-04", "paid_at": ..., "shipped_at": ...,
         "delivered_at": ...}

    Every line needs its unit_price: today's is not what was paid. A state needs the moments that led to
    it. Without ship_to there is none; the profile's address of today is not copied. Products may be
    withdrawn and the customer inactive. `products` comes from catalogue.get_products, read
    once for many orders. Whether a reference was recorded before is for the caller to find out, by
    orders.get_references.

    Raises:
        Unprocessable: as the API would, with a fault for each field, its pointer into `past`.
    """
    try:
        new = PastOrder.model_validate(past)
    except ValidationError as fault:
        raise _unreadable(fault) from None
    refuse(_untimely(new))
    requested = requested_lines(new)
    unpriced = [each for each in requested if each.line.unit_price is None]
    refuse(FieldFault(f"{each.pointer}/unit_price", REQUIRED, "missing") for each in unpriced)
    customer = await get_customer(session, new.user_id)
    if customer is None:
        raise no_customer()
    lines = price_lines(requested, products)
    values = order_values(new, sum_up(new, lines, new.shipping_fee), currency)
    moments = ("placed_at", "paid_at", "shipped_at", "delivered_at")
    values |= {name: getattr(new, name) for name in moments}
    values |= {"user_id": new.user_id, "customer_name": customer.full_name, "status": new.status}
    values["ship_to"] = new.ship_to.model_dump() if new.ship_to else None
    values["events"] = placing.timeline(values, by="import")
    return await placing.add(session, values, lines)


def _untimely(new: PastOrder) -> Iterator[FieldFault]:
    for name in MOMENTS["delivered"]:
        needed, given = name in MOMENTS[new.status], getattr(new, name) is not None
        if needed and not given:
            yield FieldFault(f"/{name}", REQUIRED, "missing")
        elif given and not needed:
            yield FieldFault(
                f"/{name}", f"Leave this out: an order that is {new.status} has none.", "contradiction"
            )


def _unreadable(error: ValidationError) -> Unprocessable:
    """With the faults as they are named for a request body."""
    faults = tuple(
        FieldFault("".join(f"/{part}" for part in fault["loc"]), message(fault), code_of(fault))
        for fault in error.errors(include_url=False, include_input=False)
    )
    return Unprocessable("; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults), errors=faults)
