"""Marking notifications as read."""

from service.errors import NotFound
from service.identity import Caller
from service.notifications import repository as notifications
from service.notifications.schemas import Notification, ReadCount
from service.platform.database import Session


async def mark_read(session: Session, caller: Caller, notification_id: int) -> Notification:
    """Idempotent: the time of the first reading is kept."""
    row = await notifications.mark_read(session, caller.user_id, notification_id)
    if row is None:
        raise _unknown()
    return Notification.of(row)


async def require_own(session: Session, caller: Caller, notification_id: int) -> None:
    """Raises NotFound, as `mark_read` does."""
    if not await notifications.exists(session, caller.user_id, notification_id):
        raise _unknown()


def _unknown() -> NotFound:
    return NotFound("You have no notification with this id. Check the id.")


async def mark_all_read(session: Session, caller: Caller) -> ReadCount:
    return ReadCount(read=await notifications.mark_all_read(session, caller.user_id))
