"""Tables, constraints and indexes, one file a domain. Importing the package registers them all."""

from service.models import (
    audit,
    auth,
    changes,
    events,
    idempotency,
    items,
    mails,
    notifications,
    orders,
    posts,
    streams,
    users,
    webhooks,
)
from service.models.base import Base

__all__ = [
    "Base",
    "audit",
    "auth",
    "changes",
    "events",
    "idempotency",
    "items",
    "mails",
    "notifications",
    "orders",
    "posts",
    "streams",
    "users",
    "webhooks",
]
