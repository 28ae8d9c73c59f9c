"""Invoices: the content of one, in words, and its entity tag."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from service.identity import AnyCaller
from service.invoices.document import Document, DocumentLine, State
from service.orders import Order, get_order_row
from service.platform.config import Settings
from service.platform.database import Database

STATES: Final[dict[str, State]] = {
    "placed": "unpaid",
    "paid": "paid",
    "shipped": "paid",
    "delivered": "paid",
    "cancelled": "cancelled",
    "refunded": "refunded",
}
#: In the order in which they can happen.
MOMENTS: Final = ("paid", "shipped", "delivered", "cancelled", "refunded")


@dataclass(frozen=True, slots=True)
class Invoice:
    document: Document
    #: A strong entity tag: the bytes follow from the document and from what draws it.
    tag: str


async def get(
    database: Database, settings: Settings, caller: AnyCaller, order_id: int, *, renderer: str
) -> Invoice:
    """The invoice of an order that the caller may see. No connection is held when it is drawn."""
    async with database.reading() as session:
        row = await get_order_row(session, caller, order_id)
    document = _document(row, settings.seller)
    digest = hashlib.sha256(f"{renderer} {document!r}".encode()).hexdigest()
    return Invoice(document, f'"{row.version}-{digest[:16]}"')


def _document(row: Any, seller: str) -> Document:
    order = Order.of(row)
    return Document(
        number=order.id,
        changed_at=max(at for at in (order.placed_at, *_moments(order).values())),
        seller=tuple(line.strip() for line in seller.splitlines() if line.strip()),
        buyer=order.customer_name,
        ship_to=order.ship_to.lines() if order.ship_to else (),
        facts=_facts(row, order),
        state=STATES[order.status],
        status_text=_status_text(order),
        currency=order.currency,
        lines=tuple(
            DocumentLine(
                name=line.name,
                quantity=str(line.quantity),
                unit_price=line.unit_price,
                discount_pct=line.discount_pct,
                line_total=line.line_total,
            )
            for line in order.lines
        ),
        subtotal=str(order.subtotal),
        discount=f"-{order.discount}" if order.discount else str(order.discount),
        shipping=order.shipping,
        shipping_fee=str(order.shipping_fee),
        total=str(order.total),
    )


def _moments(order: Order) -> dict[str, datetime]:
    every = {name: getattr(order, f"{name}_at") for name in MOMENTS}
    return {name: at for name, at in every.items() if at is not None}


def _status_text(order: Order) -> str:
    parts = [f"{name} on {_day(at)}" for name, at in _moments(order).items()]
    if order.status == "placed":
        parts.append("payment is due")
    if order.refund_due:
        parts.append("refund is due")
    return ", ".join(parts).capitalize()


def _facts(row: Any, order: Order) -> tuple[tuple[str, str], ...]:
    facts = [
        ("Invoice number", str(order.id)),
        ("Invoice date", _day(order.placed_at)),
        ("Order number", str(order.id)),
        ("Your reference", order.reference),
        ("Payment reference", row.payment_reference),
        ("Refund reference", row.refund_reference),
    ]
    return tuple((label, text) for label, text in facts if text)


def _day(moment: datetime) -> str:
    return moment.date().isoformat()
