"""Sends the queued emails: each leaves at least once, and is written when it leaves.

The platform knows no domain: what an email says, to whom, and whether there is still cause for it, is
decided by the composer that a domain has registered for its kind (container/worker.py). It runs in the
worker, long after the request was answered, so neither that answer nor its time reveals the decision.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import stamina
import structlog

from service.errors import Unavailable
from service.platform.config import Settings
from service.platform.crypto import Undecryptable
from service.platform.database import Database, Record, Session
from service.platform.jobs.kinds import Attempt
from service.platform.mail import AddressCipher, metrics
from service.platform.mail import repository as mails
from service.platform.mail.rendering import Message, Renderer
from service.platform.mail.transports import Transport, Undelivered, transport_for

log = structlog.get_logger(__name__)

#: Longer than a delivery can take, and over when a job whose worker was lost is taken by another: that is
#: 30 s after its last heartbeat (jobs/worker), of which there is one every 6 s.
LEASE: Final = timedelta(seconds=24)
#: Attempts at recording that an email has left, over some seconds.
RECORDINGS: Final = 6
CLAIMED: Final = "Another worker has begun to send this mail."


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be sent to this address: the values that the templates of its kind name."""

    user_id: int
    to: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Withheld:
    """Nothing is sent, for this reason. `user_id` is the account that it was about, where one was found."""

    reason: str
    user_id: int | None = None


#: Given a row of `mails` and its decrypted address. Raises Unavailable to be asked again later.
Composer = Callable[[Session, Record, str | None], Awaitable[Draft | Withheld]]


@dataclass(frozen=True, slots=True)
class Emails:
    """The emails of one domain: the package whose `templates` they have, and the composer of each kind."""

    package: str
    composers: Mapping[str, Composer]


class Mailer:
    """One for each worker process."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        emails: Sequence[Emails],
        *,
        transport: Transport | None = None,
        lease: timedelta = LEASE,
    ) -> None:
        self._database, self._lease = database, lease
        self._composers = {kind: compose for each in emails for kind, compose in each.composers.items()}
        self._renderer = Renderer(settings, [each.package for each in emails])
        self._addresses = AddressCipher.of(settings)
        self._transport = transport or transport_for(settings)

    async def run(self, attempt: Attempt) -> None:
        """The handler of an email's job."""
        await self.send(attempt.payload["mail_id"], last=attempt.last)

    async def send(self, mail_id: int, *, last: bool) -> None:
        """One attempt. Raises Unavailable if it fails and another may succeed; the `last` ends the email."""
        message = await self._claim(mail_id)
        if message is None:
            return
        try:
            outcome = await self._transport.deliver(message)
        except Undelivered as fault:
            await self._not_delivered(mail_id, message.kind, fault, last=last)
            return
        metrics.mail_ended(message.kind, outcome)
        await self._record(mail_id, "failed" if outcome == "not_configured" else "sent")

    async def _record(self, mail_id: int, status: str) -> None:
        """Record that it has left, stubbornly: a worker that does not know sends it again."""
        async for attempt in stamina.retry_context(on=Unavailable, attempts=RECORDINGS, timeout=None):
            with attempt:
                async with self._database.transaction() as session:
                    await mails.end(session, mail_id, status)

    async def _claim(self, mail_id: int) -> Message | None:
        """What is to be sent now, under a lease; None if nothing is to be sent."""
        async with self._database.transaction() as session:
            mail = await mails.get(session, mail_id)
            if mail is None:
                return None
            if mail.leased_seconds > 0:
                raise Unavailable(CLAIMED)
            draft = await self._compose(session, mail)
            if isinstance(draft, Withheld):
                await _withhold(session, mail, draft)
                return None
            message = self._renderer.render(mail.kind, draft.to, mail.message_id, draft.values)
            if not await mails.claim(session, mail_id, draft.user_id, self._lease):
                raise Unavailable(CLAIMED)
            return message

    async def _compose(self, session: Session, mail: Record) -> Draft | Withheld:
        try:
            address = self._addresses.decrypt(mail.address).secret.decode() if mail.address else None
        except Undecryptable:
            # Encrypted under a key that is neither SECRET_KEY nor accepted.
            log.error("mail.address_not_decrypted", kind=mail.kind)  # noqa: TRY400 - no fault of code
            return Withheld("its address cannot be read")
        return await self._composers[mail.kind](session, mail, address)

    async def _not_delivered(self, mail_id: int, kind: str, fault: Undelivered, *, last: bool) -> None:
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


async def _withhold(session: Session, mail: Record, withheld: Withheld) -> None:
    if mail.user_id is None:
        # The request may have named any address: nothing is kept of it.
        await mails.remove(session, mail.id)
    else:
        await mails.end(session, mail.id, "withheld", withheld.reason)
    metrics.mail_ended(mail.kind, "withheld")
    user_id = withheld.user_id or mail.user_id
    if user_id is not None:
        log.warning("mail.withheld", kind=mail.kind, user_id=user_id, reason=withheld.reason)
