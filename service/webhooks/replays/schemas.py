"""Requests and responses of replays."""

from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field

from service.events import EVENT_TYPES, EventType
from service.platform.http.schemas import Id, In, Out, ShortLine

A_POSITION: Final = "5ZKdpwAGRMwGO_wA"
EXAMPLES: Final[list[Any]] = [
    {"after": A_POSITION},
    {"after": A_POSITION, "types": ["order.paid"]},
]
Position = Annotated[ShortLine, Field(examples=[A_POSITION])]


class ReplayCreate(In):
    """Which events to send. Positions are those of the event feed."""

    model_config = ConfigDict(json_schema_extra={"examples": EXAMPLES})

    after: Annotated[Position, Field(description="Events after this position.")]
    until: Annotated[
        Position | None,
        Field(description="Up to this position, which is included. Where the feed ends now by default."),
    ] = None
    types: Annotated[
        list[EventType] | None,
        Field(
            min_length=1,
            max_length=len(EVENT_TYPES),
            description="Only these, of the types that the webhook gets. All of them by default.",
            examples=[["order.paid"]],
        ),
    ] = None


class Replay(Out):
    """A replay that has begun."""

    webhook_id: Id
    after: Annotated[str, Field(examples=[A_POSITION])]
    until: Annotated[str, Field(examples=[A_POSITION])]
    types: Annotated[list[EventType], Field(examples=[["order.placed", "order.paid"]])]
