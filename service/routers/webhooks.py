"""Webhooks: events for other systems."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import MISSING

from service.dependencies.caller import Administrator
from service.dependencies.listing import ListingDep
from service.dependencies.located import Located
from service.dependencies.parts import PartsDep
from service.dependencies.route import Route
from service.dependencies.session import ReaderDep, SessionDep
from service.edge.openapi import problems
from service.repositories import webhooks as repository
from service.schemas.base import DIGITS, MAX_ID
from service.schemas.webhooks import Delivery, NewWebhook, Status, Webhook, WebhookCreate, WebhookPatch
from service.services import webhooks

router = APIRouter(route_class=Route, prefix="/webhooks", tags=["webhooks"])

WebhookId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]
DeliveryId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]


async def get_new(_: Administrator, new: WebhookCreate, parts: PartsDep) -> WebhookCreate:
    """Looked up after it is known who calls, and before the transaction."""
    await webhooks.check(parts.targets, new.url)
    return new


async def get_patch(_: Administrator, patch: WebhookPatch, parts: PartsDep) -> WebhookPatch:
    if patch.url is not MISSING:
        await webhooks.check(parts.targets, patch.url)
    return patch


New = Annotated[WebhookCreate, Depends(get_new)]
Patch = Annotated[WebhookPatch, Depends(get_patch)]


@router.post("", status_code=201, responses=problems(403, 409))
async def create_webhook(
    new: New, caller: Administrator, session: SessionDep, parts: PartsDep, located: Located
) -> NewWebhook:
    """Register an address for events. The secret is in this answer and that of a rotation, in no other."""
    made = await webhooks.create(session, parts.vault, caller, new)
    located(made.id)
    return made


@router.get("", responses=problems(403))
async def list_webhooks(_: Administrator, listing: ListingDep, reader: ReaderDep) -> list[Webhook]:
    """Every webhook, newest first, with those that are not active."""
    return listing.of(Webhook, await repository.find(reader, listing.page))


@router.get("/{webhook_id}", responses=problems(403, 404))
async def get_webhook(webhook_id: WebhookId, _: Administrator, reader: ReaderDep) -> Webhook:
    """One webhook, and how it fares."""
    return await webhooks.get(reader, webhook_id)


@router.patch("/{webhook_id}", responses=problems(403, 404))
async def update_webhook(
    webhook_id: WebhookId, patch: Patch, caller: Administrator, session: SessionDep
) -> Webhook:
    """Change its address or its events, stop it, or start it again."""
    return await webhooks.change(session, caller, webhook_id, patch)


@router.delete("/{webhook_id}", status_code=204, responses=problems(403, 404))
async def delete_webhook(webhook_id: WebhookId, caller: Administrator, session: SessionDep) -> None:
    """Remove a webhook for good, with the log of its deliveries."""
    await webhooks.remove(session, caller, webhook_id)


@router.post("/{webhook_id}/rotate-secret", responses=problems(403, 404))
async def rotate_secret(
    webhook_id: WebhookId, caller: Administrator, session: SessionDep, parts: PartsDep
) -> NewWebhook:
    """Make another secret; for 24 hours deliveries are signed with this and the one before it."""
    return await webhooks.rotate_secret(session, parts.vault, caller, webhook_id)


@router.post("/{webhook_id}/ping", status_code=202, responses=problems(403, 404))
async def ping_webhook(webhook_id: WebhookId, caller: Administrator, session: SessionDep) -> Delivery:
    """Send a signed `ping`, once; what came of it is in the list of deliveries."""
    return await webhooks.ping(session, caller, webhook_id)


@router.get("/{webhook_id}/deliveries", responses=problems(403, 404))
async def list_deliveries(
    webhook_id: WebhookId,
    _: Administrator,
    listing: ListingDep,
    reader: ReaderDep,
    status: Annotated[Status | None, Query(description="Only those in this state.")] = None,
) -> list[Delivery]:
    """What it was told and will be, newest first, with the last answer to each."""
    rows = await webhooks.find_deliveries(reader, webhook_id, listing.page, status=status)
    return listing.of(Delivery, rows)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver", status_code=202, responses=problems(403, 404, 409)
)
async def redeliver_event(
    webhook_id: WebhookId, delivery_id: DeliveryId, caller: Administrator, session: SessionDep
) -> Delivery:
    """Send it again under the same `webhook-id`, whether it has succeeded or failed; a pending one now."""
    return await webhooks.redeliver(session, caller, webhook_id, delivery_id)
