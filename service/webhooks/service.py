"""Webhooks as administrators manage them. The worker delivers (service/webhooks/deliveries/service.py)."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from service import audit
from service.errors import FieldFault, Unprocessable
from service.identity import Caller, reauthorize
from service.platform.database import Record, Session
from service.platform.database.pagination import Page
from service.platform.telemetry import request_facts, tracing
from service.webhooks import repository as webhooks
from service.webhooks.deliveries import repository as deliveries
from service.webhooks.deliveries.payloads import build_payload
from service.webhooks.errors import DeliveryNotFound, TooManyWebhooks, WebhookInactive, WebhookNotFound
from service.webhooks.schemas import NewWebhook, Webhook, WebhookCreate, WebhookDelivery, WebhookPatch
from service.webhooks.signing import SecretCipher, encode_secret, new_secret
from service.webhooks.targets import TargetRefused, Targets

#: Few enough that a worker can make attempts for all of them at the same time, even if each hangs.
MAX_WEBHOOKS: Final = 100
#: How long the previous secret signs too after a rotation: receivers may change theirs by hand.
ROTATION_OVERLAP: Final = timedelta(hours=24)


async def check_target(targets: Targets, url: str) -> None:
    """Raises Unprocessable for a URL that the worker would refuse. Slow: call it before a transaction."""
    try:
        await targets.check(url)
    except TargetRefused as refusal:
        fault = FieldFault("/url", refusal.detail, refusal.reason)
        raise Unprocessable(refusal.detail, errors=(fault,)) from None


async def create(session: Session, cipher: SecretCipher, caller: Caller, new: WebhookCreate) -> NewWebhook:
    """The response, and that of a rotation, is the only one with the secret. `check_target` comes before."""
    await reauthorize(session, caller)
    secret = new_secret()
    row = await webhooks.add(
        session,
        url=new.url,
        description=new.description or "",
        events=new.events,
        secret=cipher.encrypt(secret),
        most=MAX_WEBHOOKS,
    )
    if row is None:
        raise TooManyWebhooks(f"There are {MAX_WEBHOOKS} webhooks already. Delete one first.")
    await _record(session, caller, "webhook.created", row.id, {"events": new.events})
    return NewWebhook.of({**row, "secret": encode_secret(secret)})


async def get(session: Session, webhook_id: int) -> Webhook:
    return Webhook.of(_found(await webhooks.get(session, webhook_id)))


async def change(session: Session, caller: Caller, webhook_id: int, patch: WebhookPatch) -> Webhook:
    """A changed URL or `is_active` clears the record of failures. `check_target` comes before."""
    await reauthorize(session, caller)
    values = patch.model_dump(exclude_unset=True)
    before = _found(await webhooks.get(session, webhook_id, lock=True))
    if "description" in values:
        values["description"] = values["description"] or ""
    values = {name: value for name, value in values.items() if getattr(before, name) != value}
    if not values:
        return Webhook.of(before)
    recorded: dict[str, Any] = {name: values[name] for name in ("events", "is_active") if name in values}
    if "url" in values or "is_active" in values:
        values |= dict.fromkeys(("failing_since", "paused_until", "disabled_at", "disabled_reason"))
    await webhooks.change(session, webhook_id, values)
    if values.get("is_active") is False:
        await deliveries.fail_pending(session, webhook_id, "disabled")
    # Without URL and description: free text may contain a secret, and an audit entry is never deleted.
    changed = sorted(set(patch.model_fields_set) & set(values))
    await _record(session, caller, "webhook.changed", webhook_id, {"changed": changed, **recorded})
    return await get(session, webhook_id)


async def remove(session: Session, caller: Caller, webhook_id: int) -> None:
    """With its deliveries. Raises WebhookNotFound."""
    await reauthorize(session, caller)
    if not await webhooks.remove(session, webhook_id):
        raise WebhookNotFound
    await _record(session, caller, "webhook.deleted", webhook_id, {})


async def rotate_secret(
    session: Session, cipher: SecretCipher, caller: Caller, webhook_id: int
) -> NewWebhook:
    await reauthorize(session, caller)
    _found(await webhooks.get(session, webhook_id, lock=True))
    secret = new_secret()
    await webhooks.rotate(session, webhook_id, cipher.encrypt(secret), ROTATION_OVERLAP)
    await _record(session, caller, "webhook.secret_rotated", webhook_id, {})
    row = _found(await webhooks.get(session, webhook_id))
    return NewWebhook.of({**row, "secret": encode_secret(secret)})


async def find_deliveries(session: Session, webhook_id: int, page: Page, *, status: str | None) -> list[Any]:
    """Rows of WebhookDelivery, newest first."""
    _found(await webhooks.get(session, webhook_id))
    return await deliveries.find(session, webhook_id, page, status=status)


async def ping(session: Session, caller: Caller, webhook_id: int) -> WebhookDelivery:
    """Queue a test message; one attempt is made, also while the webhook is not active."""
    await reauthorize(session, caller)
    _found(await webhooks.get(session, webhook_id))
    facts = request_facts.facts()
    added = await deliveries.add_ping(
        session, webhook_id, request_id=facts.request_id, traceparent=tracing.traceparent()
    )
    delivery_id = added.id
    data: Mapping[str, Any] = {"webhook_id": webhook_id, "delivery_id": delivery_id}
    body = build_payload(deliveries.PING, added.created_at, data)
    row = await deliveries.set_message(session, delivery_id, f"ping_{delivery_id}", body)
    await deliveries.enqueue(session, webhook_id, delivery_id)
    await _record(session, caller, "webhook.pinged", webhook_id, {"delivery_id": delivery_id})
    return WebhookDelivery.of(row)


async def redeliver(session: Session, caller: Caller, webhook_id: int, delivery_id: int) -> WebhookDelivery:
    """Queue the same message under the same id, with ten attempts; a pending one is attempted now."""
    await reauthorize(session, caller)
    webhook = _found(await webhooks.get(session, webhook_id, lock=True))
    if not webhook.is_active:
        raise WebhookInactive("This webhook is not active. Set `is_active` to true first.")
    row = await deliveries.restart(session, webhook_id, delivery_id)
    if row is None:
        raise DeliveryNotFound
    await deliveries.enqueue(session, webhook_id, delivery_id)
    await _record(session, caller, "webhook.redelivered", webhook_id, {"delivery_id": delivery_id})
    return WebhookDelivery.of(row)


def _found(row: Record | None) -> Record:
    if row is None:
        raise WebhookNotFound
    return row


async def _record(
    session: Session, caller: Caller, action: str, webhook_id: int, data: Mapping[str, Any]
) -> None:
    await audit.record(session, action, by=caller, target_kind="webhook", target_id=webhook_id, data=data)
