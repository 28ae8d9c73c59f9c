"""Events: what happened, published in its transaction, and handed to consumers by a worker.

The table is the record; `fan_out` hands each event to what the composition root has registered.
"""

from service.events.models import EVENT_TYPES, EventType
from service.events.repository import EVENT, EVENTS, NewEvent, publish, publish_each, publish_new, to_publish

__all__ = (
    "EVENT",
    "EVENTS",
    "EVENT_TYPES",
    "EventType",
    "NewEvent",
    "publish",
    "publish_each",
    "publish_new",
    "to_publish",
)
