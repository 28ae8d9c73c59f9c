"""All tables: importing this module registers the models of every domain, for migrations and checks."""

from service.audit import models as audit
from service.catalogue import models as items
from service.events import models as events
from service.identity import models as auth
from service.notifications import models as notifications
from service.notifications.streams import models as streams
from service.orders import models as orders
from service.platform.database import sequenced_changes as changes
from service.platform.database.base import Base
from service.platform.http.idempotency import models as idempotency
from service.platform.mail import models as mails
from service.posts import models as posts
from service.webhooks import models as webhooks

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
    "webhooks",
]
