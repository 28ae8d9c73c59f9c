"""What a worker mails: whether there is still something to write, what, to whom, and that it leaves once.

Whether there is an account, and whether it may be written to, is found out here: the request that asked is
answered long before, so that its answer and its time cannot tell.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, Self

import stamina
import structlog

from service.accounts.recovery import repository as tokens
from service.errors import Unavailable
from service.identity.tokens import account_state
from service.orders import repository as orders
from service.orders.schemas import Order, ShipTo
from service.platform.config import Settings
from service.platform.crypto import Undecryptable, fingerprint, same
from service.platform.database import Database, Record, Session
from service.platform.mail import AddressCipher
from service.platform.mail import repository as mails
from service.platform.mail.templates import TOKEN_MINUTES, Kind, Letter, Letters
from service.platform.mail.transports import Transport, Undelivered, transport_for
from service.platform.telemetry import metrics

log = structlog.get_logger(__name__)

#: Longer than a delivery can take, and over when a job whose worker was lost comes back: that is 30 s after
#: its last sign of life (jobs/worker), of which there is one every 6 s.
LEASE: Final = timedelta(seconds=24)
LIFETIME: Final = timedelta(minutes=TOKEN_MINUTES)
#: One mail with a token goes so often to one mailbox for one account, whoever has asked before: as long as a
#: token is good, so that there always is a good one, or another can be asked for.
INTERVAL: Final = LIFETIME
#: Mails that ask for a change of address cost an account nothing, and go to whoever it names: so many a day.
MOST_CHANGES: Final = 8
DAY: Final = timedelta(days=1)
#: Of orders so many at once go to a mailbox that nobody has proven to be theirs; then one in each INTERVAL.
MOST_OF_ORDERS: Final = 3
WINDOW: Final = timedelta(hours=1)
#: For so long somebody waits for a mail with a token; then they have asked for another.
LATEST: Final = timedelta(hours=1)
#: Tries of recording that a mail has left, over some seconds.
RECORDINGS: Final = 6
UNDER_WAY: Final = "Another worker has begun to send this mail."
TOO_MANY: Final = "too many lately"
NOBODY: Final = "no such account"

#: The events that their customer is written to about.
OF_EVENTS: Final[Mapping[str, Kind]] = {
    "order.placed": "order_placed",
    "order.shipped": "order_shipped",
    "order.cancelled": "order_cancelled",
}
OF_ORDERS: Final = frozenset(OF_EVENTS.values())
WITH_TOKEN: Final = frozenset({"verify_email", "reset_password", "change_email"})


@dataclass(frozen=True, slots=True)
class Withheld:
    """Nothing is sent, and why."""

    reason: str


async def fan_out(session: Session, event: Record) -> None:
    """Have the customer written to, once however often this is called. `event` is a row of events."""
    kind = OF_EVENTS.get(event.type)
    if kind is not None and event.user_id is not None:
        facts = {"order_id": event.object_id}
        await mails.ask(session, kind, user_id=event.user_id, event_id=event.id, facts=facts)


class Mails:
    """One for each worker process."""

    def __init__(
        self,
        database: Database,
        letters: Letters,
        transport: Transport,
        addresses: AddressCipher,
        *,
        lease: timedelta = LEASE,
    ) -> None:
        self._database, self._letters = database, letters
        self._transport, self._addresses, self._lease = transport, addresses, lease

    @classmethod
    def of(cls, settings: Settings, database: Database, *, lease: timedelta = LEASE) -> Self:
        addresses = AddressCipher.of(settings)
        return cls(database, Letters(settings), transport_for(settings), addresses, lease=lease)

    async def send(self, mail_id: int, *, last: bool) -> None:
        """One try. If it fails and another may help it raises Unavailable, but the `last` ends the mail."""
        letter = await self._begin(mail_id)
        if letter is None:
            return
        try:
            outcome = await self._transport.deliver(letter)
        except Undelivered as fault:
            await self._not_delivered(mail_id, letter.kind, fault, last=last)
            return
        metrics.mail_ended(letter.kind, outcome)
        await self._record(mail_id, "failed" if outcome == "not_configured" else "sent")

    async def _record(self, mail_id: int, status: str) -> None:
        """That it has left. Stubbornly: whoever does not know will send it again."""
        async for attempt in stamina.retry_context(on=Unavailable, attempts=RECORDINGS, timeout=None):
            with attempt:
                async with self._database.transaction() as session:
                    await mails.end(session, mail_id, status)

    async def _begin(self, mail_id: int) -> Letter | None:
        """What is to be sent now, by nobody else for the time being; or there is nothing to be sent."""
        async with self._database.transaction() as session:
            mail = await mails.get(session, mail_id)
            if mail is None:
                return None
            if mail.held > 0:
                raise Unavailable(UNDER_WAY)
            account, letter = await self._written(session, mail)
            if isinstance(letter, Withheld):
                await _withhold(session, mail, account, letter.reason)
                return None
            user_id = account.id if account is not None else None
            if not await mails.claim(session, mail_id, user_id, self._lease):
                raise Unavailable(UNDER_WAY)
            return letter

    async def _not_delivered(self, mail_id: int, kind: Kind, fault: Undelivered, *, last: bool) -> None:
        again = fault.passing and not last
        async with self._database.transaction() as session:
            if again:
                await mails.release(session, mail_id)
            else:
                await mails.end(session, mail_id, "failed", str(fault))
        if again:
            log.warning("mail.put_off", kind=kind, reason=str(fault))
            raise Unavailable("The mail server did not take a mail.") from None
        log.error("mail.failed", kind=kind, reason=str(fault))
        metrics.mail_ended(kind, "failed")

    async def _written(self, session: Session, mail: Record) -> tuple[Record | None, Letter | Withheld]:
        """The letter, and whose account it is about."""
        try:
            address = self._addresses.decrypt(mail.address).secret.decode() if mail.address else None
        except Undecryptable:
            # Sealed under a key that is neither SECRET_KEY nor accepted.
            log.error("mail.address_not_decrypted", kind=mail.kind)  # noqa: TRY400 - no fault of code
            return None, Withheld("its address cannot be read")
        if mail.kind in WITH_TOKEN:
            return await self._with_token(session, mail, address)
        account = await tokens.get_account(session, mail.user_id)
        if account is None or account.erased:
            return account, Withheld(NOBODY)
        if mail.kind in OF_ORDERS:
            return account, await self._of_order(session, mail, account)
        return account, self._letter(mail, address or account.email, mail.facts)

    async def _with_token(
        self, session: Session, mail: Record, address: str | None
    ) -> tuple[Record | None, Letter | Withheld]:
        """The account stays as it is until the transaction ends, for its state is part of the token."""
        resets = mail.kind == "reset_password"
        account = await (
            tokens.get_account_by_email(session, str(address), lock=True)
            if resets
            else tokens.get_account(session, mail.user_id, lock=True)
        )
        if account is None or not account.is_active:
            return account, Withheld(NOBODY)
        if outdated := _outdated(mail, account):
            return account, Withheld(outdated)
        # As it is stored: another spelling may be another person's mailbox.
        to = account.email if resets or address is None else address
        if await _too_many(session, mail, account, to):
            return account, Withheld(TOO_MANY)
        token = secrets.token_urlsafe(32)
        await tokens.add_token(
            session,
            hash=fingerprint(token),
            user_id=account.id,
            purpose=mail.kind,
            email=to,
            account_state=account_state(account, mail.kind),
            mail_id=mail.id,
            lifetime=LIFETIME,
        )
        return account, self._letter(mail, to, {"token": token})

    async def _of_order(self, session: Session, mail: Record, account: Record) -> Letter | Withheld:
        """What is in it beside the shop's own words only its customer can have written: if the address is
        theirs. To one that may be anybody's there go few, for orders cost nothing until they are paid.
        """
        if not account.email_verified:
            # Who writes to the same customer at the same time waits here.
            await tokens.get_account(session, account.id, lock=True)
            lately, just_now = [
                await mails.count(session, account.id, OF_ORDERS, window, but=mail.id)
                for window in (WINDOW, INTERVAL)
            ]
            if lately >= MOST_OF_ORDERS and just_now:
                return Withheld(TOO_MANY)
        row = await orders.get(session, mail.facts["order_id"], viewer_id=None)
        if row is None:
            return Withheld("no such order")
        values = _values(Order.of(row), own_words=account.email_verified)
        values["link"] = self._letters.page(f"/orders/{row.id}")
        return self._letter(mail, account.email, {"order_id": row.id, "order": values})

    def _letter(self, mail: Record, to: str, values: Mapping[str, Any]) -> Letter:
        return self._letters.write(mail.kind, to, mail.message_id, **values)


async def _too_many(session: Session, mail: Record, account: Record, to: str) -> bool:
    """Whether the account has had this mail lately; its row is locked.

    Raises Unavailable while another is under way: this one is needed if that one fails.
    """
    recent = await tokens.get_recent_mail(
        session, user_id=account.id, purpose=mail.kind, email=to, window=INTERVAL, but=mail.id
    )
    if recent == "sending":
        raise Unavailable(UNDER_WAY)
    if recent == "sent" or mail.kind != "change_email":
        return recent is not None
    return await mails.count(session, account.id, {mail.kind}, DAY, but=mail.id) >= MOST_CHANGES


def _outdated(mail: Record, account: Record) -> str | None:
    """What speaks against a mail that was in order when it was asked for."""
    if mail.age > LATEST.total_seconds():
        return "too late"
    if mail.kind == "verify_email" and account.email_verified:
        return "verified already"
    if mail.kind == "change_email":
        asked = bytes.fromhex(mail.facts["account_state"])
        if not same(asked, account_state(account, mail.kind)):
            return "the account has changed"
    return None


async def _withhold(session: Session, mail: Record, account: Record | None, reason: str) -> None:
    if mail.user_id is None:
        # Whoever asked may have named anybody: nothing is kept of that.
        await mails.remove(session, mail.id)
    else:
        await mails.end(session, mail.id, "withheld", reason)
    metrics.mail_ended(mail.kind, "withheld")
    user_id = account.id if account is not None else mail.user_id
    if user_id is not None:
        log.warning("mail.withheld", kind=mail.kind, user_id=user_id, reason=reason)


def _values(order: Order, *, own_words: bool) -> dict[str, Any]:
    """What an order's letter names. Without `own_words` nothing that its customer has written."""
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
    own = ("customer_name", "reference", "cancel_reason")
    shown |= {name: getattr(order, name) if own_words else None for name in own}
    goes = own_words and order.status not in {"cancelled", "refunded"}
    shown["ship_to"] = _address(order.ship_to) if goes and order.ship_to else None
    return shown


def _address(ship_to: ShipTo) -> list[str]:
    town = " ".join(filter(None, (ship_to.postal_code, ship_to.city)))
    return list(filter(None, (ship_to.name, ship_to.street, town, ship_to.region, ship_to.country)))
