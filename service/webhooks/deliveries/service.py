"""What the worker does for webhooks: deliveries of an event, one attempt of a delivery, and what follows.

An attempt is made outside any transaction. It is claimed before and its result is written after, so that it
counts even if the worker is killed, and no other worker makes it at the same time.
"""

from datetime import timedelta
from typing import Any, Final, Literal, Self

import structlog

from service import audit, notifications
from service.platform.config import Settings
from service.platform.crypto import Undecryptable
from service.platform.database import Database, Record, Session
from service.platform.jobs.kinds import Attempt
from service.platform.telemetry import tracing
from service.webhooks import metrics
from service.webhooks import repository as webhooks
from service.webhooks.deliveries import repository as deliveries
from service.webhooks.deliveries import retries
from service.webhooks.deliveries.concurrency import MAX_CONCURRENCY, ConcurrencyLimits
from service.webhooks.deliveries.http_client import AttemptResult, DeliveryClient
from service.webhooks.deliveries.payloads import build_payload
from service.webhooks.deliveries.retries import GONE, Decision, decide
from service.webhooks.signing import SecretCipher, signature_headers
from service.webhooks.targets import Targets

log = structlog.get_logger(__name__)

#: Longer than an attempt can take: after that its worker is lost.
LEASE: Final = timedelta(seconds=30)
#: After so long without a success a failing webhook is disabled.
DISABLED_AFTER: Final = timedelta(days=3)
#: For Retry-After no delivery at all is attempted, but no longer than this.
MAX_PAUSE: Final = timedelta(hours=1)
#: Deliveries that are deleted at a time.
PURGE_BATCH: Final = 5_000
#: A delivery that has been due for so long has lost its job.
OVERDUE: Final = timedelta(minutes=2)


async def fan_out(session: Session, event: Record) -> int:
    """Queue a delivery of this event to each webhook that subscribes to it, once however often it is called.

    Returns how many were queued. `event` is a row of events.
    """
    body = build_payload(event.type, event.occurred_at, event.data)
    return len(await deliveries.fan_out(session, event, f"evt_{event.id}", body))


class Deliveries:
    """One for each worker process."""

    def __init__(
        self, database: Database, client: DeliveryClient, cipher: SecretCipher, retention: timedelta
    ) -> None:
        self._database, self._client, self._cipher = database, client, cipher
        self._retention = retention
        self._limits = ConcurrencyLimits()

    @classmethod
    def of(cls, settings: Settings, database: Database) -> Self:
        client = DeliveryClient(Targets(allow_private=settings.webhook_allow_private))
        return cls(database, client, SecretCipher.of(settings), settings.retention_deliveries)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def run(self, attempt: Attempt) -> None:
        """The handler of a delivery's job. The queue retries faults of the service, not failed attempts."""
        await self.deliver(attempt.payload["webhook_id"], attempt.payload["delivery_id"])

    async def deliver(self, webhook_id: int, delivery_id: int) -> None:
        """Make an attempt, if one is due. Raises for faults of the database, not of the receiver."""
        if self._limits.free(webhook_id) or await self._free_after_waiting(webhook_id, delivery_id):
            self._limits.acquire(webhook_id)
            try:
                await self._attempt(delivery_id)
            finally:
                self._limits.release(webhook_id)
            await self._queue_waiting(webhook_id)

    async def _free_after_waiting(self, webhook_id: int, delivery_id: int) -> bool:
        """Mark the delivery as waiting; whether a slot is free after all, when no other will queue it."""
        async with self._database.reading() as session:
            await deliveries.mark_waiting(session, delivery_id)
        self._limits.add_waiting(webhook_id)
        return self._limits.free(webhook_id) > 0

    async def _queue_waiting(self, webhook_id: int) -> None:
        free = self._limits.free(webhook_id)
        if not free or not self._limits.take_waiting(webhook_id):
            return
        async with self._database.transaction() as session:
            taken = await deliveries.take_waiting(session, webhook_id, free)
            for row in taken:
                await _queue_again(session, row)
        if taken:
            # There may be more, even where fewer were taken than slots are free: locked rows are skipped.
            self._limits.add_waiting(webhook_id)

    async def _attempt(self, delivery_id: int) -> None:
        async with self._database.reading() as session:
            delivery = await deliveries.claim(session, delivery_id, LEASE, retries.MAX_ATTEMPTS)
        if delivery is None:
            await self._postpone(delivery_id)
            return
        result = await self._post(delivery)
        decision = decide(result, delivery.attempts, once=delivery.event_type == deliveries.PING)
        succeeded = decision.outcome == "succeeded"
        self._limits.observe(delivery.webhook_id, result.seconds, succeeded=succeeded)
        if succeeded:
            async with self._database.reading() as session:
                await deliveries.mark_succeeded(session, delivery.id, delivery.attempts, **_stored(result))
        else:
            async with self._database.transaction() as session:
                await _record_failure(session, delivery, result, decision)
        metrics.webhook_tried(decision.outcome, result.seconds)
        _log_attempt(delivery, result, decision)

    async def _postpone(self, delivery_id: int) -> None:
        """No attempt may begin now. If one may later, queue it for then; no attempt is counted."""
        async with self._database.transaction() as session:
            row = await deliveries.get_state(session, delivery_id)
            if row is None or row.status != "pending" or row.until_due > 0:
                return  # it has ended, or another job is queued for when it is due
            if not row.allowed:
                await deliveries.fail(session, delivery_id, "disabled")
            elif row.until_unclaimed > 0:
                delay = timedelta(seconds=float(row.until_unclaimed))
                await deliveries.enqueue(session, row.webhook_id, delivery_id, delay=delay)
            elif row.attempts >= retries.MAX_ATTEMPTS:
                await deliveries.fail(session, delivery_id, "interrupted")
            elif row.until_unpaused > 0:
                delay = timedelta(seconds=float(row.until_unpaused) * (1 + retries.JITTER))
                await deliveries.postpone(session, delivery_id, delay)
                await deliveries.enqueue(session, row.webhook_id, delivery_id, delay=delay)

    async def _post(self, delivery: Record) -> AttemptResult:
        encrypted = filter(None, (delivery.secret, delivery.previous_secret))
        try:
            keys = [self._cipher.decrypt(each).secret for each in encrypted]
        except Undecryptable:
            _log_undecryptable(delivery.webhook_id)
            return AttemptResult(0.0, fault="secret_unreadable")
        headers = signature_headers(delivery.message_id, delivery.tried_at, delivery.body, keys)
        with tracing.client_span("webhook POST"):
            result = await self._client.post(delivery.url, headers, delivery.body)
            tracing.set_status(result.status)
        return result

    async def maintain(self) -> None:
        """Queue deliveries that lost their job, delete old ones, encrypt secrets under the current key."""
        async with self._database.transaction() as session:
            for row in await deliveries.find_overdue(session, OVERDUE, MAX_CONCURRENCY):
                await _queue_again(session, row, key=f"{deliveries.KIND}-{row.id}")
        async with self._database.transaction() as session:
            await deliveries.purge(session, self._retention, most=PURGE_BATCH)
        async with self._database.transaction() as session:
            for row in await webhooks.get_secrets(session):
                await self._reencrypt(session, row)

    async def _reencrypt(self, session: Session, row: Record) -> None:
        values: dict[str, Any] = {}
        for name in ("secret", "previous_secret"):
            encrypted = getattr(row, name)
            try:
                decrypted = self._cipher.decrypt(encrypted) if encrypted is not None else None
            except Undecryptable:
                _log_undecryptable(row.id)
                continue
            if decrypted is not None and decrypted.stale:
                values[name] = self._cipher.encrypt(decrypted.secret)
        if values:
            await webhooks.change(session, row.id, values)


async def _record_failure(
    session: Session, delivery: Record, result: AttemptResult, decision: Decision
) -> None:
    """Write the result and what follows: the next attempt, or the end of the webhook."""
    stored = _stored(result)
    values = {
        "status": "pending" if decision.outcome == "retried" else "failed",
        "last_status": stored["status"],
        "fault": decision.fault,
        "duration_ms": stored["duration_ms"],
        "answer": stored["answer"],
    }
    current = await deliveries.record_failure(
        session, delivery.id, delivery.attempts, delay=decision.delay, values=values
    )
    if not current:
        return
    if decision.delay is not None:
        await deliveries.enqueue(session, delivery.webhook_id, delivery.id, delay=decision.delay)
    if result.status == GONE:
        await _disable(session, delivery, "gone")
    elif delivery.event_type != deliveries.PING:
        pause = min(decision.retry_after, MAX_PAUSE) if decision.retry_after else None
        if await webhooks.record_failure(session, delivery.webhook_id, pause, longest=DISABLED_AFTER):
            await _disable(session, delivery, "failing")


def _stored(result: AttemptResult) -> dict[str, Any]:
    """What a delivery keeps of a result. PostgreSQL stores no NUL."""
    text = result.excerpt.decode(errors="replace").replace("\0", "\ufffd")
    return {
        "status": result.status,
        "duration_ms": round(result.seconds * 1000),
        "answer": text if result.status is not None else None,
    }


async def _disable(session: Session, delivery: Record, reason: Literal["gone", "failing"]) -> None:
    """Nothing more is sent until an administrator enables the webhook; pending deliveries fail."""
    webhook_id = delivery.webhook_id
    if not await webhooks.disable(session, webhook_id, reason):
        return
    await deliveries.fail(session, delivery.id, "disabled" if reason == "failing" else "status")
    await deliveries.fail_pending(session, webhook_id, "disabled")
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
    """With the ids of the request that caused this delivery, which is not that of the running job."""
    known = {"request_id": row.request_id, "traceparent": row.traceparent}
    source = {name: value for name, value in known.items() if value}
    await deliveries.enqueue(session, row.webhook_id, row.id, key=key, source=source)


def _log_undecryptable(webhook_id: int) -> None:
    """The secret is encrypted under a key that is neither SECRET_KEY nor accepted: it has to be rotated."""
    log.error("webhook.secret_not_decrypted", webhook_id=webhook_id)


def _log_attempt(delivery: Record, result: AttemptResult, decision: Decision) -> None:
    event = "webhook.delivered" if decision.outcome == "succeeded" else "webhook.refused"
    trace_id = delivery.traceparent and delivery.traceparent.split("-")[1]
    origin = {"request_id": delivery.request_id, "trace_id": trace_id}
    log.info(
        event,
        webhook_id=delivery.webhook_id,
        delivery_id=delivery.id,
        type=delivery.event_type,
        attempt=delivery.attempts,
        status=result.status,
        fault=decision.fault,
        outcome=decision.outcome,
        duration_ms=round(result.seconds * 1000),
        # The running job may come from another request.
        **{name: value for name, value in origin.items() if value},
    )
