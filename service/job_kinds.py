"""Which kinds of jobs there are, and who does them. This is where a new one is added."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from service import upkeep
from service.events import fan_out
from service.verification import job as invariants
from service.worker_container import Attempt, Kind, WorkerParts


async def send_mail(parts: WorkerParts, payload: Mapping[str, Any], attempt: Attempt) -> None:
    await parts.mailer.send(payload["mail_id"], last=attempt.last)


async def deliver(parts: WorkerParts, payload: Mapping[str, Any], _: Attempt) -> None:
    """One try of a delivery, which counts its tries itself: the queue's own are for what breaks here."""
    await parts.deliveries.deliver(payload["webhook_id"], payload["delivery_id"])


async def tend_deliveries(parts: WorkerParts, _payload: Mapping[str, Any], _attempt: Attempt) -> None:
    await parts.deliveries.tend()


#: The first are taken first: a person waits for a mail, a machine for a webhook, nobody for the clean-up.
KINDS: Final[Mapping[str, Kind]] = {
    # Attempts enough for a mail server that is away for a day; it may not want more connections at once.
    "mail": Kind(send_mail, at_once=10, attempts=40),
    "event": Kind(fan_out.hand_on, at_once=8),
    # Many, for they wait for others and hold no connection meanwhile.
    "webhook": Kind(deliver, at_once=200),
    "tend_deliveries": Kind(tend_deliveries, at_once=1, attempts=3),
    **upkeep.KINDS,
    **invariants.KINDS,
}
#: Those that the clock enqueues: each once in its period, however many workers there are.
PERIODS: Final[Mapping[str, timedelta]] = {
    "tend_deliveries": timedelta(minutes=1),
    **upkeep.PERIODS,
    **invariants.PERIODS,
}
