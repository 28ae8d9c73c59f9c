"""Webhooks: signed events for other systems. `deliveries` is the worker's part.

Other packages use the schemas of messages that are imported here, and nothing else of this one; a repository
above may read its tables.
"""

from service.webhooks.message_schemas import (
    GoneMessage,
    ItemMessage,
    OrderMessage,
    PostMessage,
    StockMessage,
    UserMessage,
    example,
)

__all__ = (
    "GoneMessage",
    "ItemMessage",
    "OrderMessage",
    "PostMessage",
    "StockMessage",
    "UserMessage",
    "example",
)
