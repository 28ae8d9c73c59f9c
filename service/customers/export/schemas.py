"""The shape of the export, which PostgreSQL writes."""

from typing import Any

from service.accounts import Address
from service.identity import Scope
from service.notifications import Notification
from service.orders import Order
from service.platform.http.schemas import Id, Instant, Out
from service.posts import Status as PostStatus


class Profile(Out):
    id: Id
    email: str
    full_name: str
    is_active: bool
    is_admin: bool
    email_verified: bool
    created_at: Instant


class OrderRecord(Order):
    payment_reference: str | None
    refund_reference: str | None


class PostRecord(Out):
    id: Id
    title: str
    body: str
    status: PostStatus
    created_at: Instant
    updated_at: Instant
    published_at: Instant | None


class SessionRecord(Out):
    id: Id
    client: str | None
    created_at: Instant
    last_used_at: Instant
    ended_at: Instant | None


class MailRecord(Out):
    """An email to the user, and its outcome. Its text is not stored."""

    id: Id
    kind: str
    status: str
    reason: str | None
    created_at: Instant
    ended_at: Instant | None


class MailTokenRecord(Out):
    """A single-use token that was sent by email."""

    purpose: str
    email: str
    created_at: Instant
    expires_at: Instant
    used_at: Instant | None


class ApiKeyRecord(Out):
    id: Id
    name: str
    hint: str
    scopes: list[Scope]
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None
    revoked_at: Instant | None


class MovementRecord(Out):
    """A stock adjustment by the user. The units that orders took are in the orders."""

    id: Id
    item_id: Id
    kind: str
    delta: int
    reason: str
    created_at: Instant


class AuditRecord(Out):
    id: Id
    at: Instant
    action: str
    target_kind: str | None
    target_id: int | None
    data: dict[str, Any]
    request_id: str | None
    caller_request_id: str | None
    address: str | None


class Export(Out):
    profile: Profile
    address: Address | None
    orders: list[OrderRecord]
    posts: list[PostRecord]
    notifications: list[Notification]
    sessions: list[SessionRecord]
    mails: list[MailRecord]
    mail_tokens: list[MailTokenRecord]
    api_keys: list[ApiKeyRecord]
    stock_movements: list[MovementRecord]
    audit_entries: list[AuditRecord]
