"""A client that follows the event feed: it asks from where its last answer left it."""

from typing import Any

from tests.helpers.client import Api

POSITION = "event-position"


class Follower:
    def __init__(self, api: Api, *, after: str | None = None, limit: int = 100, types: str | None = None):
        self.api, self.after, self.limit, self.types = api, after, limit, types

    async def poll(self, wait: int = 0) -> list[dict[str, Any]]:
        """The events of one answer."""
        given = {"after": self.after, "types": self.types, "limit": self.limit, "wait": wait or None}
        answer = await self.api.get("/events", params={k: v for k, v in given.items() if v is not None})
        assert answer.status_code == 200, answer.text
        self.after, self.more = answer.headers[POSITION], "link" in answer.headers
        found: list[dict[str, Any]] = answer.json()
        return found

    async def seen(self) -> list[tuple[str, int]]:
        """Of one answer: the type of each event, and the id of what it is about."""
        return [(event["type"], event["data"]["id"]) for event in await self.poll()]


async def end_of_feed(api: Api) -> str:
    """The position where it ends now."""
    position: str = (await api.get("/events?after=now")).headers[POSITION]
    return position
