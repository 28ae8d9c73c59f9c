"""Every statement that erases a person's data. What they ordered and published stays.

A new column with personal data belongs here and in `export`.
"""

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, delete, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB

from service.audit.models import AuditAddress, AuditEntry
from service.events.models import Event
from service.identity.models import Address, MailToken, RefreshToken, User
from service.identity.models import Session as SessionRow
from service.notifications.models import Notification
from service.orders.models import Order
from service.platform.database import Record, Session
from service.platform.database.metadata import EMPTY
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


async def delete_pending_posts(session: Session, user_id: int) -> list[int]:
    """Their ids."""
    pending = delete(Post).where(Post.author_id == user_id, Post.status == "pending")
    return sorted(await session.values(pending.returning(Post.id)))


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
        update(Event).where(Event.user_id == user_id).values(data=_without_the_person(full_name)),
        delete(WebhookDelivery).where(WebhookDelivery.user_id == user_id, or_(_ended, _of_no_order)),
        delete(Notification).where(Notification.user_id == user_id),
        delete(RefreshToken).where(RefreshToken.session_id.in_(sessions)),
        update(SessionRow)
        .where(SessionRow.user_id == user_id)
        .values(client=None, ended_at=func.coalesce(SessionRow.ended_at, func.now())),
        # Free text of the customer, and whatever the shop keeps with the order: not needed any more.
        update(Order)
        .where(Order.user_id == user_id, or_(Order.cancel_reason.is_not(None), Order.metadata_ != EMPTY))
        .values({Order.cancel_reason: None, Order.metadata_: EMPTY, Order.version: Order.version + 1}),
        update(User)
        .where(User.id == user_id)
        .values(
            {
                User.email: email,
                User.full_name: full_name,
                User.password_hash: password_hash,
                User.is_active: False,
                User.is_admin: False,
                User.scopes: [],
                User.email_verified: False,
                User.external_id: None,
                User.metadata_: EMPTY,
                User.erased_at: func.now(),
                User.version: User.version + 1,
            }
        ),
    ):
        await session.execute(statement)


def _without_the_person(name: str) -> ColumnElement[Any]:
    """What stays of an event. Those who read the event feed later must still learn of what there is: an order
    without what is its customer's, and a post that is published, by nobody.
    """
    published = exists().where(Post.id == Event.object_id, Post.status == "published")
    was_published = Event.data.contains(literal({"status": "published"}, JSONB))
    is_published = and_(Event.type.like("post.%"), was_published, published)
    unnamed = {"customer_name": name, "customer_email": None, "ship_to": None, "cancel_reason": None}
    return case(
        (Event.type.like("order.%"), Event.data.concat(literal(unnamed, JSONB))),
        (is_published, Event.data.concat(literal({"author_name": name}, JSONB))),
        (or_(Event.type == "user.erased", Event.type == "post.deleted"), Event.data),
        else_=literal({}, JSONB),
    )


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
