"""Notifications as a live stream of server-sent events."""

from typing import Any, Final

from fastapi import Request

from service.identity.dependencies import SignedIn
from service.notifications.schemas import StreamTicket
from service.notifications.streams import service as streams
from service.notifications.streams.dependencies import SubscriptionDep, TokenSeconds, subscribe
from service.platform.http.injection import DatabaseDep
from service.platform.http.route import api_router
from service.platform.http.sse import EventStream

router = api_router("/notifications", tags=["notifications"])

EVENTS: Final[dict[str, Any]] = {
    "description": (
        "Server-sent events, until access ends. Each event has the notification's `id`,"
        " `event: notification`, and in `data` a Notification as one line of JSON. After 15 s without an"
        " event the service sends a comment."
    ),
    "content": {
        "text/event-stream": {
            "schema": {"type": "string"},
            "example": (
                "retry: 3000\nid: 41\n\n"
                "id: 42\nevent: notification\n"
                'data: {"id":42,"kind":"order.shipped","title":"Order 10248 has been shipped",'
                '"body":"It is on its way to Berlin.","data":{"order_id":10248},"read_at":null,'
                '"created_at":"2026-11-22T10:30:00.123456Z"}\n\n'
                ": still here\n\n"
            ),
        }
    },
}


@router.get("/stream", status_code=200, response_class=EventStream, responses={200: EVENTS})
async def stream_notifications(subscription: SubscriptionDep, request: Request) -> EventStream:
    """Stream the caller's notifications. The response is an endless list of server-sent events.

    Without `Last-Event-ID` the stream begins with the next notification. With it, all notifications after
    that id are sent, each once. The stream ends with the access token, within a second after its session
    or account ends, and when the server stops: connect again then. A user may have 10 streams in one
    process.
    """
    return EventStream(await subscribe(request, subscription), event="notification")


@router.post("/stream-ticket")
async def issue_stream_ticket(caller: SignedIn, seconds: TokenSeconds, database: DatabaseDep) -> StreamTicket:
    """Issue a ticket for one stream. A browser's EventSource needs one: it cannot send a token.

    Send it within 30 seconds in the stream's `ticket` parameter; it is valid once. The stream ends with the
    token and the session that the ticket was issued with.
    """
    return await streams.issue_ticket(database, caller, seconds)
