"""Webhooks as administrators keep them. Delivering is the worker's (services/deliveries.py)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from service import audit
from service.errors import FieldFault, NotFound, TooManyWebhooks, Unprocessable, WebhookInactive
from service.identity import locks as callers
from service.identity.callers import Caller
from service.platform.database import Record, Session
from service.platform.database.pagination import Page
from service.platform.telemetry import request, tracing
from service.webhooks import repository as webhooks
from service.webhooks.deliveries import messages
from service.webhooks.deliveries import repository as deliveries
from service.webhooks.schemas import NewWebhook, Webhook, WebhookCreate, WebhookDelivery, WebhookPatch
from service.webhooks.secrets import SecretCipher, new_secret, written
from service.webhooks.targets import Refused, Targets

#: So many that a worker has room for all of them at once, though every one hangs.
MOST: Final = 100
#: How long the secret before a rotation signs too: for receivers that change theirs by hand.
OVERLAP: Final = timedelta(hours=24)


async def check(targets: Targets, url: str) -> None:
    """Raises Unprocessable for what the worker would not call. It takes a while: before any transaction."""
    try:
        await targets.check(url)
    except Refused as refusal:
        fault = FieldFault("/url", refusal.detail, refusal.reason)
        raise Unprocessable(refusal.detail, errors=(fault,)) from None


async def create(session: Session, cipher: SecretCipher, caller: Caller, new: WebhookCreate) -> NewWebhook:
    """The answer, and that of a rotation, is the only place where the secret ever stands.

    The address has been checked.
    """
    await callers.lock(session, caller)
    secret = new_secret()
    row = await webhooks.add(
        session,
        url=new.url,
        description=new.description or "",
        events=new.events,
        secret=cipher.encrypt(secret),
        most=MOST,
    )
    if row is None:
        raise TooManyWebhooks(f"There are {MOST} webhooks already. Remove one first.")
    await _note(session, caller, "webhook.created", row.id, {"events": new.events})
    return NewWebhook.of({**row._asdict(), "secret": written(secret)})


async def get(session: Session, webhook_id: int) -> Webhook:
    return Webhook.of(_found(await webhooks.get(session, webhook_id)))


async def change(session: Session, caller: Caller, webhook_id: int, patch: WebhookPatch) -> Webhook:
    """Whoever changes the address, which has been checked, or starts it again gives it a fresh start."""
    await callers.lock(session, caller)
    values = patch.model_dump(exclude_unset=True)
    before = _found(await webhooks.get(session, webhook_id, lock=True))
    if "description" in values:
        values["description"] = values["description"] or ""
    values = {name: value for name, value in values.items() if getattr(before, name) != value}
    if not values:
        return Webhook.of(before)
    noted: dict[str, Any] = {name: values[name] for name in ("events", "is_active") if name in values}
    if "url" in values or "is_active" in values:
        values |= dict.fromkeys(("failing_since", "paused_until", "disabled_at", "disabled_reason"))
    await webhooks.change(session, webhook_id, values)
    if values.get("is_active") is False:
        await deliveries.give_up_all(session, webhook_id, "disabled")
    # Without address and description: what is free text may hold a secret, and is kept for good there.
    changed = sorted(set(patch.model_fields_set) & set(values))
    await _note(session, caller, "webhook.changed", webhook_id, {"changed": changed, **noted})
    return await get(session, webhook_id)


async def remove(session: Session, caller: Caller, webhook_id: int) -> None:
    """With the log of its deliveries. Raises NotFound."""
    await callers.lock(session, caller)
    if not await webhooks.remove(session, webhook_id):
        raise _no_such_webhook()
    await _note(session, caller, "webhook.deleted", webhook_id, {})


async def rotate_secret(
    session: Session, cipher: SecretCipher, caller: Caller, webhook_id: int
) -> NewWebhook:
    await callers.lock(session, caller)
    _found(await webhooks.get(session, webhook_id, lock=True))
    secret = new_secret()
    await webhooks.rotate(session, webhook_id, cipher.encrypt(secret), OVERLAP)
    await _note(session, caller, "webhook.secret_rotated", webhook_id, {})
    row = _found(await webhooks.get(session, webhook_id))
    return NewWebhook.of({**row._asdict(), "secret": written(secret)})


async def find_deliveries(session: Session, webhook_id: int, page: Page, *, status: str | None) -> list[Any]:
    """Rows of WebhookDelivery, the newest first."""
    _found(await webhooks.get(session, webhook_id))
    return await deliveries.find(session, webhook_id, page, status=status)


async def ping(session: Session, caller: Caller, webhook_id: int) -> WebhookDelivery:
    """Queue a delivery of no event; it is tried once, also while the webhook is not active."""
    await callers.lock(session, caller)
    _found(await webhooks.get(session, webhook_id))
    facts = request.facts()
    delivery_id = await deliveries.add_ping(
        session, webhook_id, request_id=facts.request_id, traceparent=tracing.traceparent()
    )
    data: Mapping[str, Any] = {"webhook_id": webhook_id, "delivery_id": delivery_id}
    body = messages.message(deliveries.PING, datetime.now(UTC), data)
    row = await deliveries.write(session, delivery_id, f"ping_{delivery_id}", body)
    await deliveries.queue(session, webhook_id, delivery_id)
    await _note(session, caller, "webhook.pinged", webhook_id, {"delivery_id": delivery_id})
    return WebhookDelivery.of(row)


async def redeliver(session: Session, caller: Caller, webhook_id: int, delivery_id: int) -> WebhookDelivery:
    """The same message under the same id, with ten tries before it; one that is pending is tried now."""
    await callers.lock(session, caller)
    webhook = _found(await webhooks.get(session, webhook_id, lock=True))
    if not webhook.is_active:
        raise WebhookInactive("This webhook is not active. Enable it first.")
    row = await deliveries.restart(session, webhook_id, delivery_id)
    if row is None:
        raise NotFound("There is no such delivery.")
    await deliveries.queue(session, webhook_id, delivery_id)
    await _note(session, caller, "webhook.redelivered", webhook_id, {"delivery_id": delivery_id})
    return WebhookDelivery.of(row)


def _found(row: Record | None) -> Record:
    if row is None:
        raise _no_such_webhook()
    return row


def _no_such_webhook() -> NotFound:
    return NotFound("There is no such webhook.")


async def _note(
    session: Session, caller: Caller, action: str, webhook_id: int, data: Mapping[str, Any]
) -> None:
    await audit.record(session, action, by=caller, target_kind="webhook", target_id=webhook_id, data=data)
