"""Notifications: what happened, for one user, as a list and as a live stream."""

from service.notifications.repository import (
    NOTIFICATION,
    NOTIFICATIONS,
    NewNotification,
    add,
    find,
    notify,
    notify_administrators,
    to_notify,
)
from service.notifications.schemas import Notification
from service.notifications.streams.repository import purge_tickets as purge_stream_tickets

__all__ = [
    "NOTIFICATION",
    "NOTIFICATIONS",
    "NewNotification",
    "Notification",
    "add",
    "find",
    "notify",
    "notify_administrators",
    "purge_stream_tickets",
    "to_notify",
]
