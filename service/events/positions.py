"""Positions in the event feed, as clients keep them: the places of events (docs/adr/0051)."""

from datetime import UTC, datetime, timedelta
from typing import Final

from service.events import repository as events
from service.platform.database import Session, positions

STREAM: Final = "events"
#: Before all events.
BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: After all events.
END: Final = datetime(9999, 1, 1, tzinfo=UTC)
_STEP: Final = timedelta(microseconds=1)
_ANEW: Final = (
    "Start anew: take a position by GET /events?after=now, read the lists of what you keep, then follow"
    " the events from that position."
)


def encode_position(place: datetime) -> str:
    return positions.encode(STREAM, (place - BEGINNING) // _STEP)


def decode_position(position: str) -> datetime:
    """Raises PositionUnknown for what is no position of the feed."""
    try:
        return BEGINNING + positions.decode(STREAM, position, anew=_ANEW) * _STEP
    except OverflowError:
        raise positions.unknown(_ANEW) from None


async def require_known(session: Session, place: datetime) -> None:
    """Raises PositionUnknown unless every event after this place is there. What is read from there on must be
    read before: an event may be deleted for its age meanwhile.
    """
    if not await events.is_known(session, place):
        raise positions.unknown(_ANEW)


async def get_end(session: Session) -> datetime:
    """The place of the last event."""
    return await events.get_last_place(session) or BEGINNING
