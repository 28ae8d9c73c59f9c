"""Responses of notifications and streams."""

from typing import Annotated, Any

from pydantic import Field

from service.platform.http.schemas import Id, Instant, Out


class Notification(Out):
    id: Id
    kind: Annotated[str, Field(description="The type of event.", examples=["order.shipped"])]
    title: Annotated[str, Field(examples=["Order 10248 has been shipped"])]
    body: Annotated[str, Field(examples=["It is on its way to Berlin."])]
    data: Annotated[
        dict[str, Any],
        Field(
            description="Ids and values of the event; the members depend on `kind`.",
            examples=[{"order_id": 10248}],
        ),
    ]
    read_at: Annotated[Instant | None, Field(description="Null while the notification is unread.")]
    created_at: Instant


class ReadCount(Out):
    read: Annotated[
        int, Field(description="The number of notifications that were unread before.", examples=[3])
    ]


class StreamTicket(Out):
    ticket: Annotated[
        str,
        Field(
            description="Opens one stream, in place of an access token.",
            pattern=r"^[A-Za-z0-9_-]{43}$",
            examples=["dVnwk5dYX8uN4zDRXqJZ9sSBLUpZkWqHhLkZ2fO6xUc"],
        ),
    ]
    expires_in: Annotated[int, Field(description="The lifetime of the ticket in seconds.", examples=[30])]
