"""Every statement that erases a person's data. What they ordered and published stays.

A new column with personal data belongs here and in `export`.
"""

from sqlalchemy import Select, and_, delete, func, or_, select, update

from service.audit.models import AuditAddress, AuditEntry
from service.events.models import Event
from service.identity.models import Address, MailToken, RefreshToken, User
from service.identity.models import Session as SessionRow
from service.notifications.models import Notification
from service.orders.models import Order
from service.platform.database import Record, Session
from service.platform.mail.models import Mail
from service.posts.models import Post
from service.webhooks.models import WebhookDelivery

#: Orders stay, and so do their deliveries that are still pending.
_ended = WebhookDelivery.status != "pending"
_of_no_order = WebhookDelivery.event_type.not_like("order.%")


async def lock(session: Session, user_id: int) -> Record | None:
    """The password's hash and the version; None once the account is erased.

    Locked against references too: a transaction that is about to write a row of this user's waits, and then
    finds no user (the trigger leave_erased_alone).
    """
    statement = select(User.password_hash, User.version).where(User.id == user_id, User.erased_at.is_(None))
    return await session.one(statement.with_for_update())


async def erase(session: Session, user_id: int, *, email: str, full_name: str, password_hash: str) -> None:
    """The caller holds the account's lock. A trigger revokes the API keys that it has made.

    What remains of a person are ids, and in their orders the name and the address as the law wants them.
    """
    sessions = select(SessionRow.id).where(SessionRow.user_id == user_id)
    for statement in (
        delete(AuditAddress).where(AuditAddress.audit_id.in_(_entries(user_id))),
        delete(Address).where(Address.user_id == user_id),
        delete(MailToken).where(MailToken.user_id == user_id),
        delete(Mail).where(Mail.user_id == user_id),
        delete(Event).where(Event.user_id == user_id),
        delete(WebhookDelivery).where(WebhookDelivery.user_id == user_id, or_(_ended, _of_no_order)),
        delete(Notification).where(Notification.user_id == user_id),
        delete(Post).where(Post.author_id == user_id, Post.status == "pending"),
        delete(RefreshToken).where(RefreshToken.session_id.in_(sessions)),
        update(SessionRow)
        .where(SessionRow.user_id == user_id)
        .values(client=None, ended_at=func.coalesce(SessionRow.ended_at, func.now())),
        # Free text of the customer, and not needed any more.
        update(Order)
        .where(Order.user_id == user_id, Order.cancel_reason.is_not(None))
        .values(cancel_reason=None, version=Order.version + 1),
        update(User)
        .where(User.id == user_id)
        .values(
            email=email,
            full_name=full_name,
            password_hash=password_hash,
            is_active=False,
            is_admin=False,
            email_verified=False,
            erased_at=func.now(),
            version=User.version + 1,
        ),
    ):
        await session.execute(statement)


def _entries(user_id: int) -> Select[int]:
    """The entries of the audit log whose client address may be this person's.

    Those of what they did, and of what a stranger did at their door: it may have been them.
    """
    sessions = select(SessionRow.id).where(SessionRow.user_id == user_id)
    at_their_door = or_(
        and_(AuditEntry.target_kind == "user", AuditEntry.target_id == user_id),
        and_(AuditEntry.target_kind == "session", AuditEntry.target_id.in_(sessions)),
    )
    return select(AuditEntry.id).where(
        or_(
            AuditEntry.actor_id == user_id,
            and_(AuditEntry.actor_id.is_(None), AuditEntry.key_id.is_(None), at_their_door),
        )
    )
