"""A client that polls: it asks from where its last answer left it, and keeps what it learns."""

from typing import Any

from tests.helpers.client import Api

BEGINNING = "1970-01-01T00:00:00Z"
MARK = "next-updated-since"


class Poller:
    """`/items` or `/posts`; what it has seen comes out of `poll`, what is gone out of `removed`."""

    def __init__(self, api: Api, path: str, *, since: str = BEGINNING, limit: int = 100) -> None:
        self.api, self.path, self.limit = api, path, limit
        self.since = self.removed_since = since

    async def poll(self) -> list[dict[str, Any]]:
        rows, self.since = await self._ask(self.path, self.since)
        return rows

    async def removed(self) -> list[int]:
        rows, self.removed_since = await self._ask(f"{self.path}/removed", self.removed_since)
        return [row["id"] for row in rows]

    async def _ask(self, path: str, since: str) -> tuple[list[dict[str, Any]], str]:
        answer = await self.api.get(path, params={"updated_since": since, "limit": self.limit})
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return answer.json(), answer.headers[MARK]

    async def names(self) -> list[str]:
        return [row.get("name") or row["title"] for row in await self.poll()]
