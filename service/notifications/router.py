"""Notifications of the caller."""

from typing import Annotated

from fastapi import Path, Query

from service.identity.dependencies import SignedIn
from service.notifications import repository
from service.notifications import service as notifications
from service.notifications.schemas import Notification, ReadCount
from service.platform.http.access import AccessCheck
from service.platform.http.injection import ReaderDep, SessionDep
from service.platform.http.listing import ListingDep
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID

router = api_router("/notifications", tags=["notifications"])

NotificationId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS, AccessCheck(notifications.require_own)]


@router.get("")
async def list_notifications(
    caller: SignedIn,
    listing: ListingDep,
    reader: ReaderDep,
    unread: Annotated[bool, Query(description="Only unread notifications.")] = False,
) -> list[Notification]:
    """List the caller's notifications. The newest come first."""
    rows = await repository.find(reader, caller.user_id, listing.page, unread=unread)
    return listing.of(Notification, rows)


@router.post("/read")
async def read_all_notifications(caller: SignedIn, session: SessionDep) -> ReadCount:
    """Mark all of the caller's notifications as read. The response has their number."""
    return await notifications.mark_all_read(session, caller)


@router.post("/{notification_id}/read", responses=problems(404))
async def read_notification(
    notification_id: NotificationId, caller: SignedIn, session: SessionDep
) -> Notification:
    """Mark a notification as read. A notification that is read already keeps its `read_at`."""
    return await notifications.mark_read(session, caller, notification_id)
