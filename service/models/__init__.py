"""Tables, constraints and indexes, one file a domain. Importing the package registers them all."""

from service.models import audit, auth, idempotency, items, notifications, orders, posts, users
from service.models.base import Base

__all__ = ["Base", "audit", "auth", "idempotency", "items", "notifications", "orders", "posts", "users"]
