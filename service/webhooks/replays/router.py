"""Replays of events to a webhook."""

from typing import Annotated

from fastapi import Path

from service.identity.dependencies import WebhooksWriter
from service.platform.http.injection import SessionDep
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID
from service.webhooks.replays import service as replays
from service.webhooks.replays.schemas import Replay, ReplayCreate

router = api_router("/webhooks/{webhook_id}/replay", tags=["webhooks"])


@router.post("", status_code=202, responses=problems(403, 404, 409, 410))
async def replay_events(
    webhook_id: Annotated[int, Path(ge=1, le=MAX_ID), DIGITS],
    replay: ReplayCreate,
    caller: WebhooksWriter,
    session: SessionDep,
) -> Replay:
    """Replay events to a webhook. Sends the events of a range, such as those of an outage of the receiver.

    Each is delivered under its own `webhook-id`, also if it was delivered before; a pending delivery stays as
    it is. The worker queues them part by part, behind the deliveries of new events.
    """
    return await replays.begin(session, caller, webhook_id, replay)
