"""What the worker does for webhooks: who is told of an event, one try of a delivery, and what follows.

A try is made outside of any transaction. It is claimed before and concluded after, so that a worker which
is killed has used it up, and nobody else makes it at the same time.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self

import structlog

from service import audit, notifications
from service.platform.config import Settings
from service.platform.crypto import Undecryptable
from service.platform.database import Database, Record, Session
from service.platform.jobs.kinds import Attempt
from service.platform.telemetry import metrics, tracing
from service.webhooks import repository as webhooks
from service.webhooks.deliveries import messages, retries
from service.webhooks.deliveries import repository as deliveries
from service.webhooks.deliveries.retries import GONE, Verdict, judge
from service.webhooks.deliveries.sender import Answer, Sender
from service.webhooks.deliveries.shares import SHARE, Shares
from service.webhooks.secrets import SecretCipher, signature_headers
from service.webhooks.targets import Targets

log = structlog.get_logger(__name__)

#: Longer than a try can take: then whoever had it is gone.
LEASE: Final = timedelta(seconds=30)
#: Of failure without a success, after which a webhook is disabled.
LONGEST_FAILURE: Final = timedelta(days=3)
#: A receiver that asks for it is left alone altogether for so long at most.
LONGEST_PAUSE: Final = timedelta(hours=1)
#: Deliveries that are forgotten at a time.
MOST_PURGED: Final = 5_000
#: How late a delivery is when its job must be lost.
OVERDUE: Final = timedelta(minutes=2)


async def fan_out(session: Session, event: Record) -> int:
    """Queue a delivery of this event to each webhook that wants it, once however often this is called.

    The answer is how many were queued. `event` is a row of events.
    """
    body = messages.message(event.type, event.occurred_at, event.data)
    return len(await deliveries.fan_out(session, event, f"evt_{event.id}", body))


class Deliveries:
    """One for each worker process."""

    def __init__(
        self, database: Database, sender: Sender, cipher: SecretCipher, retention: timedelta
    ) -> None:
        self._database, self._sender, self._cipher = database, sender, cipher
        self._retention = retention
        self._shares = Shares()

    @classmethod
    def of(cls, settings: Settings, database: Database) -> Self:
        sender = Sender(Targets(allow_private=settings.webhook_allow_private))
        return cls(database, sender, SecretCipher.of(settings), settings.retention_deliveries)

    async def aclose(self) -> None:
        await self._sender.aclose()

    async def run(self, attempt: Attempt) -> None:
        """The handler of a delivery's job. A delivery counts its tries itself; the queue's attempts are for
        what breaks here.
        """
        await self.deliver(attempt.payload["webhook_id"], attempt.payload["delivery_id"])

    async def deliver(self, webhook_id: int, delivery_id: int) -> None:
        """Try it, if it is its turn. What the receiver does never raises; a database that fails does."""
        if self._shares.room(webhook_id) or await self._still_room(webhook_id, delivery_id):
            self._shares.take(webhook_id)
            try:
                await self._try(delivery_id)
            finally:
                self._shares.give_back(webhook_id)
            await self._wake(webhook_id)

    async def _still_room(self, webhook_id: int, delivery_id: int) -> bool:
        """Leave it to whoever of this webhook ends next, unless all have ended while that was written."""
        async with self._database.reading() as session:
            await deliveries.wait(session, delivery_id)
        self._shares.hold(webhook_id)
        return self._shares.room(webhook_id) > 0

    async def _wake(self, webhook_id: int) -> None:
        room = self._shares.room(webhook_id)
        if not room or not self._shares.release(webhook_id):
            return
        async with self._database.transaction() as session:
            woken = await deliveries.wake(session, webhook_id, room)
            for row in woken:
                await _queue_again(session, row)
        if woken:
            # There may be more, also where fewer came than there was room for: rows that somebody is
            # writing at this moment are passed over.
            self._shares.hold(webhook_id)

    async def _try(self, delivery_id: int) -> None:
        async with self._database.reading() as session:
            delivery = await deliveries.claim(session, delivery_id, LEASE, retries.TRIES)
        if delivery is None:
            await self._put_off(delivery_id)
            return
        answer = await self._post(delivery)
        verdict = judge(answer, delivery.attempts, once=delivery.event_type == deliveries.PING)
        self._shares.note(delivery.webhook_id, answer.seconds, good=verdict.outcome == "succeeded")
        if verdict.outcome == "succeeded":
            async with self._database.reading() as session:
                await deliveries.succeed(session, delivery.id, delivery.attempts, **_seen(answer))
        else:
            async with self._database.transaction() as session:
                await _fail(session, delivery, answer, verdict)
        metrics.webhook_tried(verdict.outcome, answer.seconds)
        _tell(delivery, answer, verdict)

    async def _put_off(self, delivery_id: int) -> None:
        """Something bars it. What does so for a time brings it back; it costs no try."""
        async with self._database.transaction() as session:
            row = await deliveries.look(session, delivery_id)
            if row is None or row.status != "pending" or row.until_due > 0:
                return  # it is over, or has a job of its own for then
            if not row.admitted:
                await deliveries.give_up(session, delivery_id, "disabled")
            elif row.until_free > 0:
                pause = timedelta(seconds=float(row.until_free))
                await deliveries.queue(session, row.webhook_id, delivery_id, delay=pause)
            elif row.attempts >= retries.TRIES:
                await deliveries.give_up(session, delivery_id, "interrupted")
            elif row.until_wanted > 0:
                pause = timedelta(seconds=float(row.until_wanted) * (1 + retries.JITTER))
                await deliveries.postpone(session, delivery_id, pause)
                await deliveries.queue(session, row.webhook_id, delivery_id, delay=pause)

    async def _post(self, delivery: Record) -> Answer:
        sealed = filter(None, (delivery.secret, delivery.previous_secret))
        try:
            keys = [self._cipher.decrypt(each).secret for each in sealed]
        except Undecryptable:
            _tell_unreadable(delivery.webhook_id)
            return Answer(0.0, fault="secret_unreadable")
        headers = signature_headers(delivery.message_id, int(time.time()), delivery.body, keys)
        with tracing.call("webhook POST"):
            answer = await self._sender.post(delivery.url, headers, delivery.body)
            tracing.answered(answer.status)
        return answer

    async def tend(self) -> None:
        """Bring on what has been forgotten, forget what is old, and seal what another key has sealed."""
        async with self._database.transaction() as session:
            for row in await deliveries.find_forgotten(session, OVERDUE, SHARE):
                await _queue_again(session, row, key=f"{deliveries.KIND}-{row.id}")
        async with self._database.transaction() as session:
            await deliveries.purge(session, datetime.now(UTC) - self._retention, most=MOST_PURGED)
        async with self._database.transaction() as session:
            for row in await webhooks.get_secrets(session):
                await self._seal_anew(session, row)

    async def _seal_anew(self, session: Session, row: Record) -> None:
        values: dict[str, Any] = {}
        for name in ("secret", "previous_secret"):
            sealed = getattr(row, name)
            try:
                opened = self._cipher.decrypt(sealed) if sealed is not None else None
            except Undecryptable:
                _tell_unreadable(row.id)
                continue
            if opened is not None and opened.stale:
                values[name] = self._cipher.encrypt(opened.secret)
        if values:
            await webhooks.change(session, row.id, values)


async def _fail(session: Session, delivery: Record, answer: Answer, verdict: Verdict) -> None:
    """Write down a try and what follows from it: the next one, or the end of the webhook."""
    seen = _seen(answer)
    values = {
        "status": "pending" if verdict.outcome == "retried" else "failed",
        "last_status": seen["status"],
        "fault": verdict.fault,
        "duration_ms": seen["duration_ms"],
        "answer": seen["answer"],
    }
    mine = await deliveries.conclude(
        session, delivery.id, delivery.attempts, pause=verdict.pause, values=values
    )
    if not mine:
        return
    if verdict.pause is not None:
        await deliveries.queue(session, delivery.webhook_id, delivery.id, delay=verdict.pause)
    if answer.status == GONE:
        await _disable(session, delivery, "gone")
    elif delivery.event_type != deliveries.PING:
        pause = min(verdict.wish, LONGEST_PAUSE) if verdict.wish else None
        if await webhooks.note_failure(session, delivery.webhook_id, pause, longest=LONGEST_FAILURE):
            await _disable(session, delivery, "failing")


def _seen(answer: Answer) -> dict[str, Any]:
    """Of an answer, what its delivery keeps. PostgreSQL stores no NUL."""
    text = answer.excerpt.decode(errors="replace").replace("\0", "\ufffd")
    return {
        "status": answer.status,
        "duration_ms": round(answer.seconds * 1000),
        "answer": text if answer.status is not None else None,
    }


async def _disable(session: Session, delivery: Record, reason: Literal["gone", "failing"]) -> None:
    """It gets nothing more until an administrator enables it; what is still pending has failed."""
    webhook_id = delivery.webhook_id
    if not await webhooks.disable(session, webhook_id, reason):
        return
    await deliveries.give_up(session, delivery.id, "disabled" if reason == "failing" else "status")
    await deliveries.give_up_all(session, webhook_id, "disabled")
    data = {"webhook_id": webhook_id, "reason": reason}
    await audit.record(session, "webhook.disabled", target_kind="webhook", target_id=webhook_id, data=data)
    why = "answered 410 Gone" if reason == "gone" else "has failed for three days"
    body = f"Its receiver {why}. It gets no events until it is enabled again."
    title = f"Webhook {webhook_id} has been disabled"
    await notifications.notify_administrators(
        session, kind="webhook.disabled", title=title, body=body, data=data
    )
    metrics.webhook_disabled(reason)
    log.warning("webhook.disabled", webhook_id=webhook_id, reason=reason)


async def _queue_again(session: Session, row: Record, key: str | None = None) -> None:
    """For a delivery that comes of another request than the one whose job this is."""
    known = {"request_id": row.request_id, "traceparent": row.traceparent}
    source = {name: value for name, value in known.items() if value}
    await deliveries.queue(session, row.webhook_id, row.id, key=key, source=source)


def _tell_unreadable(webhook_id: int) -> None:
    """It was sealed under a key that is neither SECRET_KEY nor accepted: it has to be rotated."""
    log.error("webhook.secret_not_decrypted", webhook_id=webhook_id)


def _tell(delivery: Record, answer: Answer, verdict: Verdict) -> None:
    event = "webhook.delivered" if verdict.outcome == "succeeded" else "webhook.refused"
    trace_id = delivery.traceparent and delivery.traceparent.split("-")[1]
    origin = {"request_id": delivery.request_id, "trace_id": trace_id}
    log.info(
        event,
        webhook_id=delivery.webhook_id,
        delivery_id=delivery.id,
        type=delivery.event_type,
        attempt=delivery.attempts,
        status=answer.status,
        fault=verdict.fault,
        outcome=verdict.outcome,
        duration_ms=round(answer.seconds * 1000),
        # A job that was woken may be another request's.
        **{name: value for name, value in origin.items() if value},
    )
