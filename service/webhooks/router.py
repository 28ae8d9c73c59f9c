"""Webhooks: sending events to other systems."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request
from pydantic import MISSING

from service.identity.dependencies import Administrator
from service.platform.http.injection import Component, Located, ReaderDep, SessionDep, component
from service.platform.http.listing import ListingDep
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID
from service.webhooks import repository
from service.webhooks import service as webhooks
from service.webhooks.schemas import NewWebhook, Status, Webhook, WebhookCreate, WebhookDelivery, WebhookPatch
from service.webhooks.signing import SecretCipher
from service.webhooks.targets import Targets

router = api_router("/webhooks", tags=["webhooks"])

WebhookId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]
DeliveryId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]


async def get_new(_: Administrator, new: WebhookCreate, request: Request) -> WebhookCreate:
    """The host is looked up once the caller is authorized, and before the transaction."""
    await webhooks.check_target(component(request, Targets), new.url)
    return new


async def get_patch(_: Administrator, patch: WebhookPatch, request: Request) -> WebhookPatch:
    if patch.url is not MISSING:
        await webhooks.check_target(component(request, Targets), patch.url)
    return patch


New = Annotated[WebhookCreate, Depends(get_new)]
Patch = Annotated[WebhookPatch, Depends(get_patch)]


@router.post("", status_code=201, responses=problems(403, 409))
async def create_webhook(
    new: New,
    caller: Administrator,
    session: SessionDep,
    cipher: Annotated[SecretCipher, Component],
    located: Located,
) -> NewWebhook:
    """Create a webhook. Store its secret: only this response and that of a rotation contain it."""
    made = await webhooks.create(session, cipher, caller, new)
    located(made.id)
    return made


@router.get("", responses=problems(403))
async def list_webhooks(_: Administrator, listing: ListingDep, reader: ReaderDep) -> list[Webhook]:
    """List webhooks. The newest come first; inactive ones are included."""
    return listing.of(Webhook, await repository.find(reader, listing.page))


@router.get("/{webhook_id}", responses=problems(403, 404))
async def get_webhook(webhook_id: WebhookId, _: Administrator, reader: ReaderDep) -> Webhook:
    """Get a webhook. The response has its configuration and its state, without the secret."""
    return await webhooks.get(reader, webhook_id)


@router.patch("/{webhook_id}", responses=problems(403, 404))
async def update_webhook(
    webhook_id: WebhookId, patch: Patch, caller: Administrator, session: SessionDep
) -> Webhook:
    """Update a webhook. Changes its URL, events or description, or whether it is active."""
    return await webhooks.change(session, caller, webhook_id, patch)


@router.delete("/{webhook_id}", status_code=204, responses=problems(403, 404))
async def delete_webhook(webhook_id: WebhookId, caller: Administrator, session: SessionDep) -> None:
    """Delete a webhook and its deliveries. They cannot be restored."""
    await webhooks.remove(session, caller, webhook_id)


@router.post("/{webhook_id}/rotate-secret", responses=problems(403, 404))
async def rotate_secret(
    webhook_id: WebhookId,
    caller: Administrator,
    session: SessionDep,
    cipher: Annotated[SecretCipher, Component],
) -> NewWebhook:
    """Rotate a webhook's secret. For 24 hours the service signs with the new and the old secret."""
    return await webhooks.rotate_secret(session, cipher, caller, webhook_id)


@router.post("/{webhook_id}/ping", status_code=202, responses=problems(403, 404))
async def ping_webhook(webhook_id: WebhookId, caller: Administrator, session: SessionDep) -> WebhookDelivery:
    """Send a `ping` to a webhook. It is signed, and sent once; the list of deliveries has the result."""
    return await webhooks.ping(session, caller, webhook_id)


@router.get("/{webhook_id}/deliveries", responses=problems(403, 404))
async def list_deliveries(
    webhook_id: WebhookId,
    _: Administrator,
    listing: ListingDep,
    reader: ReaderDep,
    status: Annotated[Status | None, Query(description="Only deliveries with this status.")] = None,
) -> list[WebhookDelivery]:
    """List a webhook's deliveries. The newest come first, each with the result of the last attempt."""
    rows = await webhooks.find_deliveries(reader, webhook_id, listing.page, status=status)
    return listing.of(WebhookDelivery, rows)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver", status_code=202, responses=problems(403, 404, 409)
)
async def redeliver_event(
    webhook_id: WebhookId, delivery_id: DeliveryId, caller: Administrator, session: SessionDep
) -> WebhookDelivery:
    """Repeat a delivery. The message keeps its `webhook-id`; a pending delivery is attempted at once."""
    return await webhooks.redeliver(session, caller, webhook_id, delivery_id)
