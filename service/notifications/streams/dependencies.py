"""Who may listen, by a token or by a ticket, from where on, and for how long."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Query, Request

from service.errors import InvalidToken
from service.identity import AnyCaller, Caller, authenticate_session
from service.identity.dependencies import Person, Role, SignedIn
from service.identity.revocation import Revocations
from service.identity.tokens import AccessTokens
from service.notifications.streams import service as streams
from service.notifications.streams.service import Opener, Stream, Streams
from service.platform.database import Database
from service.platform.database.change_feed import ChangeFeed
from service.platform.http.components import component
from service.platform.http.request_state import state_of
from service.platform.http.schemas import DIGITS, MAX_ID

Ticket = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z0-9_-]{43}$",
        description="From `POST /notifications/stream-ticket`, instead of an access token.",
        examples=["dVnwk5dYX8uN4zDRXqJZ9sSBLUpZkWqHhLkZ2fO6xUc"],
    ),
]
LastEventId = Annotated[
    int | None,
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=MAX_ID,
        description="The id of the last notification that was received: the stream goes on after it.",
    ),
    DIGITS,
]
SameInQuery = Annotated[
    int | None,
    Query(
        alias="last_event_id",
        ge=0,
        le=MAX_ID,
        description="The same for a browser that comes with a new ticket; the header wins.",
    ),
    DIGITS,
]


@dataclass(frozen=True, slots=True)
class Listener:
    caller: Caller
    opener: Opener
    #: How long what has admitted it lasts.
    seconds: float
    last: int | None


async def get_token_seconds(request: Request, _: SignedIn) -> float:
    """How long the access token that was sent still lasts. In its leeway it opens nothing any more."""
    token = request.headers["Authorization"].partition(" ")[2].strip()
    seconds = component(request, AccessTokens).seconds_left(token)
    if not seconds:
        raise InvalidToken
    return seconds


TokenSeconds = Annotated[float, Depends(get_token_seconds)]


class TicketOrRole(Role):
    """A browser's EventSource has a ticket instead, which is looked at when it is used."""

    def check(self, request: Request, caller: AnyCaller | None) -> None:
        if "ticket" not in request.query_params:
            super().check(request, caller)


async def get_listener(
    *,
    request: Request,
    signed_in: Annotated[Caller, Depends(Person(TicketOrRole()))],
    ticket: Ticket = None,
    last_event_id: LastEventId = None,
    same_in_query: SameInQuery = None,
) -> Listener:
    last = same_in_query if last_event_id is None else last_event_id
    if ticket is not None:
        caller, seconds = await streams.use_ticket(component(request, Database), ticket)
        state_of(request.scope).caller = caller
        return Listener(caller, "ticket", seconds, last)
    return Listener(signed_in, "token", await get_token_seconds(request, signed_in), last)


ListenerDep = Annotated[Listener, Depends(get_listener)]


async def opened(request: Request, listener: Listener) -> Stream:
    """What may have ended the access between the question and the opening is asked once more."""
    stream = component(request, Streams).open(listener.caller, listener.opener, listener.seconds)
    try:
        await authenticate_session(
            component(request, Database),
            component(request, ChangeFeed),
            component(request, Revocations),
            listener.caller,
        )
        await stream.begin(listener.last)
    except BaseException:
        stream.close()
        raise
    return stream
