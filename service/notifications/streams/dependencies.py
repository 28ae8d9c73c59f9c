"""Who opens a stream, by a token or by a ticket, after which notification, and for how long."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Query, Request

from service.errors import InvalidToken
from service.identity import AccessTokens, AnyCaller, Caller, Revocations, authenticate_session
from service.identity.dependencies import Role, SignedIn, UserToken
from service.notifications.streams import service as streams
from service.notifications.streams.subscribers import OpenedBy, Subscriber, Subscribers
from service.platform.database import Database
from service.platform.database.change_feed import ChangeFeed
from service.platform.http.injection import component
from service.platform.http.request_state import state_of
from service.platform.http.schemas import DIGITS, MAX_ID

Ticket = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z0-9_-]{43}$",
        description="A ticket of `POST /notifications/stream-ticket`, in place of an access token.",
        examples=["dVnwk5dYX8uN4zDRXqJZ9sSBLUpZkWqHhLkZ2fO6xUc"],
    ),
]
LastEventId = Annotated[
    int | None,
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=MAX_ID,
        description="The id of the last notification received: the stream continues after it.",
    ),
    DIGITS,
]
SameInQuery = Annotated[
    int | None,
    Query(
        alias="last_event_id",
        ge=0,
        le=MAX_ID,
        description="`Last-Event-ID`, for a browser with a new ticket. The header takes precedence.",
    ),
    DIGITS,
]


@dataclass(frozen=True, slots=True)
class Subscription:
    caller: Caller
    opened_by: OpenedBy
    #: How long the token is still valid.
    seconds: float
    last: int | None


async def get_token_seconds(request: Request, _: SignedIn) -> float:
    """How long the access token is still valid. In its leeway it opens no stream."""
    token = request.headers["Authorization"].partition(" ")[2].strip()
    seconds = component(request, AccessTokens).seconds_left(token)
    if not seconds:
        raise InvalidToken
    return seconds


TokenSeconds = Annotated[float, Depends(get_token_seconds)]


class TicketOrRole(Role):
    """A browser's EventSource has a ticket instead, which is checked when it is used."""

    def check(self, request: Request, caller: AnyCaller | None) -> None:
        if "ticket" not in request.query_params:
            super().check(request, caller)


async def get_subscription(
    *,
    request: Request,
    signed_in: Annotated[Caller, Depends(UserToken(TicketOrRole()))],
    ticket: Ticket = None,
    last_event_id: LastEventId = None,
    same_in_query: SameInQuery = None,
) -> Subscription:
    last = same_in_query if last_event_id is None else last_event_id
    if ticket is not None:
        caller, seconds = await streams.use_ticket(component(request, Database), ticket)
        state_of(request.scope).caller = caller
        return Subscription(caller, "ticket", seconds, last)
    return Subscription(signed_in, "token", await get_token_seconds(request, signed_in), last)


SubscriptionDep = Annotated[Subscription, Depends(get_subscription)]


async def subscribe(request: Request, subscription: Subscription) -> Subscriber:
    """Access is checked once more: it may have ended before the subscriber was known to the change feed."""
    subscribers = component(request, Subscribers)
    subscriber = subscribers.open(subscription.caller, subscription.opened_by, subscription.seconds)
    try:
        await authenticate_session(
            component(request, Database),
            component(request, ChangeFeed),
            component(request, Revocations),
            subscription.caller,
        )
        await subscriber.start(subscription.last)
    except BaseException:
        subscriber.close()
        raise
    return subscriber
