"""Emails about orders: which events their customer is written to about, and what the emails say."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from service import accounts
from service.orders import repository as orders
from service.orders.schemas import Order
from service.platform.database import Record, Session
from service.platform.mail import repository as mails
from service.platform.mail.mailer import Draft, Emails, Withheld

#: Of emails so many at once go to a mailbox that is not proven to be its customer's, then one in INTERVAL.
MAX_UNVERIFIED: Final = 3
WINDOW: Final = timedelta(hours=1)
INTERVAL: Final = timedelta(minutes=15)

_KIND_BY_EVENT: Final[Mapping[str, str]] = {
    "order.placed": "order_placed",
    "order.shipped": "order_shipped",
    "order.cancelled": "order_cancelled",
}
_KINDS: Final = frozenset(_KIND_BY_EVENT.values())


async def enqueue_for_event(session: Session, event: Record) -> None:
    """Have the customer written to, once however often this is called. `event` is a row of events."""
    kind = _KIND_BY_EVENT.get(event.type)
    if kind is not None and event.user_id is not None:
        facts = {"order_id": event.object_id}
        await mails.enqueue(session, kind, user_id=event.user_id, event_id=event.id, facts=facts)


async def _compose(session: Session, mail: Record, _address: str | None) -> Draft | Withheld:
    account = await accounts.get_account(session, mail.user_id)
    if account is None or account.erased:
        return Withheld("no such account", mail.user_id)
    if not account.email_verified and await _too_many(session, mail, account.id):
        return Withheld("too many lately", account.id)
    row = await orders.get(session, mail.facts["order_id"], viewer_id=None)
    if row is None:
        return Withheld("no such order", account.id)
    values = _values(Order.of(row), customers_words=account.email_verified)
    return Draft(account.id, account.email, {"order": values})


async def _too_many(session: Session, mail: Record, user_id: int) -> bool:
    """To an address that is not verified few emails go: orders cost nothing until they are paid."""
    # Workers that write to the same customer at the same time wait here.
    await accounts.get_account(session, user_id, lock=True)
    lately, just_now = [
        await mails.count(session, user_id, _KINDS, window, but=mail.id) for window in (WINDOW, INTERVAL)
    ]
    return lately >= MAX_UNVERIFIED and just_now > 0


def _values(order: Order, *, customers_words: bool) -> dict[str, Any]:
    """What an order's email names. Without `customers_words` nothing that its customer has written: an
    address that is not verified may be a stranger's, who would get the customer's words in the shop's name.
    """
    shown: dict[str, Any] = order.model_dump(
        mode="json", include={"id", "shipping", "subtotal", "shipping_fee", "total", "currency", "tracking"}
    )
    shown["placed_on"] = f"{order.placed_at.day} {order.placed_at:%B %Y}"
    shown["discount"] = f"{order.discount:.2f}" if order.discount else None
    shown["lines"] = [
        {
            **line.model_dump(mode="json"),
            "discount_pct": line.discount_pct if Decimal(line.discount_pct) else None,
        }
        for line in order.lines
    ]
    owed = "will be" if order.refund_due else None
    shown["refund"] = "has been" if order.status == "refunded" else owed
    written = ("customer_name", "reference", "cancel_reason")
    shown |= {name: getattr(order, name) if customers_words else None for name in written}
    ships = customers_words and order.status not in {"cancelled", "refunded"}
    shown["ship_to"] = list(order.ship_to.lines()) if ships and order.ship_to else None
    return shown


EMAILS: Final = Emails("service.orders", dict.fromkeys(sorted(_KINDS), _compose))
