"""Notifications: what happened, for one user, as a list and as a live stream."""

from service.notifications.repository import find, notify, notify_administrators
from service.notifications.schemas import Notification
from service.notifications.streams.repository import purge_tickets as purge_stream_tickets

__all__ = [
    "Notification",
    "find",
    "notify",
    "notify_administrators",
    "purge_stream_tickets",
]
