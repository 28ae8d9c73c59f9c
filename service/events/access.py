"""Which events a caller may read: those whose objects it may read."""

from collections.abc import Iterable
from typing import Final

from service.errors import Forbidden, InsufficientScope
from service.events.models import EventType
from service.identity import AnyCaller, KeyCaller, Scope

#: What a caller must have, by the first word of a type.
SCOPES: Final[dict[str, Scope]] = {
    "user": "users:read",
    "item": "catalogue:read",
    "stock": "catalogue:read",
    "order": "orders:read",
    "post": "posts:read",
}


def first_word(event_type: str) -> str:
    return event_type.partition(".")[0]


def may_read(caller: AnyCaller, event_type: EventType) -> bool:
    return caller.may(SCOPES[first_word(event_type)])


def require_may_read(caller: AnyCaller, types: Iterable[EventType], field: str) -> None:
    """Raises Forbidden for the first type that the caller may not read. `field` is where it is named."""
    for each in types:
        if may_read(caller, each):
            continue
        scope = SCOPES[first_word(each)]
        if isinstance(caller, KeyCaller):
            raise InsufficientScope(scope)
        raise Forbidden(f"To get events of these types needs the scope {scope}: leave them out of `{field}`.")
