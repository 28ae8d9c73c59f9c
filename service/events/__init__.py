"""Events: what happened, published in its transaction, and handed to consumers by a worker.

The table is the record; `fan_out` hands each event to what the composition root has registered.
"""

from service.events.access import first_word, may_read, require_may_read
from service.events.feed.repository import Part, read
from service.events.models import EVENT_TYPES, EventType
from service.events.payloads import build_payload, payload_of_json
from service.events.positions import BEGINNING, END, decode_position, encode_position, get_end, require_known
from service.events.repository import (
    EVENT,
    EVENTS,
    NewEvent,
    lock_mark,
    publish,
    publish_each,
    publish_new,
    sequence,
    set_mark,
    to_publish,
)

__all__ = (
    "BEGINNING",
    "END",
    "EVENT",
    "EVENTS",
    "EVENT_TYPES",
    "EventType",
    "NewEvent",
    "Part",
    "build_payload",
    "decode_position",
    "encode_position",
    "first_word",
    "get_end",
    "lock_mark",
    "may_read",
    "payload_of_json",
    "publish",
    "publish_each",
    "publish_new",
    "read",
    "require_known",
    "require_may_read",
    "sequence",
    "set_mark",
    "to_publish",
)
