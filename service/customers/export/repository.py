"""Everything that is stored about one person, as one document.

PostgreSQL writes it, and this process does not parse it, for it may be long. Its shape is schemas.Export.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import JSON, DateTime, Numeric, Select, Text, and_, cast, func, literal, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from service.audit.models import AuditAddress, AuditEntry
from service.catalogue.models import StockMovement
from service.identity.models import Address, ApiKey, MailToken, User
from service.identity.models import Session as SessionRow
from service.notifications.models import Notification
from service.orders.models import Order, OrderLine
from service.platform.database import Session
from service.platform.mail.models import Mail
from service.posts.models import Post

PROFILE = ("id", "email", "full_name", "is_active", "is_admin", "email_verified", "created_at")
ADDRESS = ("name", "street", "city", "region", "postal_code", "country")
ORDER = (
    "id", "user_id", "customer_name", "status", "shipping", "subtotal", "discount", "shipping_fee", "total",
    "currency", "ship_to", "reference", "refund_due", "cancel_reason", "payment_reference",
    "refund_reference", "tracking", "events", "version", "placed_at", "updated_at", "paid_at", "shipped_at",
    "delivered_at",
    "cancelled_at", "refunded_at",
)  # fmt: skip
LINE = ("product_id", "name", "quantity", "unit_price", "discount_pct", "line_total")
POST = ("id", "title", "body", "status", "created_at", "updated_at", "published_at")
NOTIFICATION = ("id", "kind", "title", "body", "data", "read_at", "created_at")
SESSION = ("id", "client", "created_at", "last_used_at", "ended_at")
MAIL = ("id", "kind", "status", "reason", "created_at", "ended_at")
MAIL_TOKEN = ("purpose", "email", "created_at", "expires_at", "used_at")
API_KEY = ("id", "name", "hint", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at")
MOVEMENT = ("id", "item_id", "kind", "delta", "reason", "created_at")
AUDIT = ("id", "at", "action", "target_kind", "target_id", "data", "request_id", "caller_request_id")
#: RFC 3339 in UTC, as everywhere else.
INSTANT = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'


async def get(session: Session, user_id: int) -> str | None:
    """The document as JSON text. One statement, so it is all of one moment."""
    document: str | None = await session.value(_whole(user_id))
    return document


def _whole(user_id: int) -> Select[Any]:
    address = select(_object(Address, ADDRESS)).where(Address.user_id == User.id)
    came_from = select(func.host(AuditAddress.address)).where(
        AuditAddress.audit_id == AuditEntry.id, AuditAddress.at == AuditEntry.at
    )
    lines = _rows(OrderLine, LINE, OrderLine.order_id == Order.id, order=OrderLine.position)
    # What their orders took from stock stands in the orders.
    corrected = and_(StockMovement.actor_id == User.id, StockMovement.order_id.is_(None))
    parts = {
        "profile": _object(User, PROFILE),
        "address": address.scalar_subquery(),
        "orders": _rows(Order, ORDER, Order.user_id == User.id, lines=lines),
        "posts": _rows(Post, POST, Post.author_id == User.id),
        "notifications": _rows(Notification, NOTIFICATION, Notification.user_id == User.id),
        "sessions": _rows(SessionRow, SESSION, SessionRow.user_id == User.id),
        "mails": _rows(Mail, MAIL, Mail.user_id == User.id),
        "mail_tokens": _rows(MailToken, MAIL_TOKEN, MailToken.user_id == User.id, order=MailToken.created_at),
        "api_keys": _rows(ApiKey, API_KEY, ApiKey.created_by == User.id),
        "stock_movements": _rows(StockMovement, MOVEMENT, corrected),
        "audit_entries": _rows(
            AuditEntry, AUDIT, AuditEntry.actor_id == User.id, address=came_from.scalar_subquery()
        ),
    }
    pairs = (part for pair in parts.items() for part in pair)
    return select(cast(func.json_build_object(*pairs), Text)).where(User.id == user_id)


def _rows(model: Any, names: Iterable[str], condition: Any, *, order: Any = None, **more: Any) -> Any:
    by = model.id if order is None else order
    rows = func.json_agg(aggregate_order_by(_object(model, names, **more), by), type_=JSON)
    return func.coalesce(select(rows).where(condition).scalar_subquery(), literal([], JSON))


def _object(model: Any, names: Iterable[str], **more: Any) -> Any:
    values = {name: _plain(getattr(model, name), getattr(model, name).type) for name in names} | more
    return func.json_build_object(*(part for pair in values.items() for part in pair), type_=JSON)


def _plain(value: Any, kind: Any) -> Any:
    """Amounts as text, for a JSON number would become a float on its way; times as they go out."""
    if isinstance(kind, Numeric):
        return cast(value, Text)
    return func.to_char(func.timezone("UTC", value), INSTANT) if isinstance(kind, DateTime) else value
