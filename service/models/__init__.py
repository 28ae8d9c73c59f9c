"""Tables, constraints and indexes, one file a domain. Importing the package registers them all."""

from service.models import auth, items, notifications, orders, posts, users
from service.models.base import Base

__all__ = ["Base", "auth", "items", "notifications", "orders", "posts", "users"]
