"""Events as the feed has them: the messages of webhooks, each with its id and its position."""

from typing import Annotated

from pydantic import Field

from service.platform.http.schemas import Out
from service.webhooks import GoneMessage, ItemMessage, OrderMessage, PostMessage, StockMessage, UserMessage

A_POSITION = "5ZKdpwAGRMwGO_wA"


class _Fed(Out):
    id: Annotated[
        str,
        Field(
            description="The event's id, the same as `webhook-id` of its deliveries.", examples=["evt_10248"]
        ),
    ]
    position: Annotated[
        str, Field(description="The feed continues after this event with it.", examples=[A_POSITION])
    ]


class FeedOrderEvent(OrderMessage, _Fed):
    """Something happened to an order."""


class FeedItemEvent(ItemMessage, _Fed):
    """Something happened to an item of the catalogue."""


class FeedStockEvent(StockMessage, _Fed):
    """The stock of an item was changed, or has reached its reorder level."""


class FeedUserEvent(UserMessage, _Fed):
    """Something happened to a user."""


class FeedPostEvent(PostMessage, _Fed):
    """Something happened to a post."""


class FeedGoneEvent(GoneMessage, _Fed):
    """A user was erased, or a post deleted."""


FeedEvent = Annotated[
    FeedOrderEvent | FeedItemEvent | FeedStockEvent | FeedUserEvent | FeedPostEvent | FeedGoneEvent,
    Field(discriminator="type"),
]
