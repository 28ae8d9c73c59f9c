"""Notifications: what happened, for one user, as a list and as a live stream."""

from service.notifications.repository import find
from service.notifications.schemas import Notification
from service.notifications.service import (
    notify,
    notify_administrators,
    notify_low_stock,
    notify_order_status,
)
from service.notifications.streams.repository import purge_tickets as purge_stream_tickets

__all__ = [
    "Notification",
    "find",
    "notify",
    "notify_administrators",
    "notify_low_stock",
    "notify_order_status",
    "purge_stream_tickets",
]
