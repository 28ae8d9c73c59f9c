"""The event feed."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Query as QueryParameter
from fastapi import Request

from service.event_feed import service as feed
from service.event_feed.schemas import A_POSITION, FeedEvent
from service.event_feed.service import Answer, Query
from service.event_feed.waiting import EventWaits
from service.identity.dependencies import EventsReader
from service.platform.database.changes_after import START
from service.platform.database.pagination import MAX_LIMIT
from service.platform.http.documents import Document
from service.platform.http.injection import Component, DatabaseDep
from service.platform.http.listing import MAX_POSITION, Limit
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS
from service.platform.http.waiting import WaitingClientDep

router = api_router("/events", tags=["events"])

POSITION: Final = "Event-Position"
MAX_WAIT: Final = 25
HEADERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in (POSITION, "Link")}}
}
After = Annotated[
    str,
    QueryParameter(
        max_length=MAX_POSITION,
        description="A position: `Event-Position` of the last response, or `position` of an event. `now` is"
        " where the feed ends now; `start`, or nothing, is before the oldest event that is kept.",
        examples=[A_POSITION],
    ),
]
Types = Annotated[
    str | None,
    QueryParameter(
        max_length=1_000,
        description="Only events of these types, separated by commas; `order.*` is all types of orders."
        " Without it all types that the caller may read.",
        examples=["order.*,item.updated"],
    ),
]
Wait = Annotated[
    int,
    QueryParameter(
        ge=0,
        le=MAX_WAIT,
        description="If there are no events yet, how many seconds to wait for the first.",
        examples=[MAX_WAIT],
    ),
    DIGITS,
]


@router.get("", responses={**HEADERS, **problems(410)})
async def list_events(
    *,
    request: Request,
    caller: EventsReader,
    client: WaitingClientDep,
    database: DatabaseDep,
    waits: Annotated[EventWaits, Component],
    after: After = START,
    types: Types = None,
    limit: Limit = MAX_LIMIT,
    wait: Wait = 0,
) -> Document[list[FeedEvent]]:
    """List events. Everything that happened, in the order in which it was committed, each event once.

    Continue with `after` = `Event-Position` of the response, which an empty one has too: no event is left
    out, however late it was committed. A `Link` says that more events follow at once. With `wait` the
    response comes with the next event. Events are kept for 30 days; for a position that has expired, or is
    unknown after a backup was restored, the response is 410.

    Needs `events:read`, and for each type the scope to read what it is about: `orders:read`, `users:read`,
    `catalogue:read` (items and stock) or `posts:read`.
    """
    answer = await feed.follow(database, waits, client, caller, Query(after, types, limit, wait))
    return Document(answer.body, headers=_headers(request, answer))


def _headers(request: Request, answer: Answer) -> dict[str, str]:
    headers = {POSITION: answer.position, "Cache-Control": "no-store"}
    if answer.more:
        given = request.query_params
        kept = [(name, given[name]) for name in ("types", "limit") if name in given]
        query = urlencode([("after", answer.position), *kept])
        headers["Link"] = f'<{request.scope["path"]}?{query}>; rel="next"'
    return headers
