"""A client that keeps a copy of a list: it begins with everything, and goes on from its last position."""

from typing import Any

from tests.helpers.client import Api

POSITION = "change-position"


class Follower:
    """Of `/items`, `/orders`, `/posts`, `/stock` or `/admin/users`."""

    def __init__(self, api: Api, path: str, *, after: str = "start", limit: int = 100) -> None:
        self.api, self.path, self.after, self.limit = api, path, after, limit
        self.copy: dict[int, dict[str, Any]] = {}
        #: Of the entries that are named and not shown, the number of each.
        self.removed: list[int] = []

    async def page(self) -> tuple[list[dict[str, Any]], bool]:
        """What one response has, and whether more follow at once."""
        answer = await self.api.get(self.path, params={"changes_after": self.after, "limit": self.limit})
        assert answer.status_code == 200, answer.text
        assert "no-store" in answer.headers["cache-control"]
        rows = answer.json()
        for row in rows:
            if "removed_at" in row:
                self.removed.append(row["id"])
                self.copy.pop(row["id"], None)
            else:
                self.copy[row.get("id") or row["item_id"]] = row
        self.after = answer.headers[POSITION]
        if more := "next" in answer.links:
            url = answer.links["next"]["url"]
            assert url == f"/api/v1{self.path}?changes_after={self.after}&limit={self.limit}"
        return rows, more

    async def catch_up(self) -> list[dict[str, Any]]:
        """All that has changed, until there is nothing more."""
        found, more = await self.page()
        while more:
            rows, more = await self.page()
            found += rows
        return found

    async def names(self) -> list[Any]:
        """The same, as names; of what was removed its id."""
        return [_name(row) for row in await self.catch_up()]


def _name(row: dict[str, Any]) -> Any:
    if "removed_at" in row:
        return row["id"]
    return next(row[key] for key in ("name", "title", "status", "full_name", "quantity") if key in row)
