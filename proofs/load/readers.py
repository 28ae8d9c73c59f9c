"""Those who look: at the catalogue without an account, and at their own profile, which they also change."""

from typing import Any, ClassVar

from proofs.load.accounts import Account
from proofs.load.client import Client, nothing


def item_facts(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in ("id", "version", "price", "availability", "is_active", "name")}


def page_facts(body: list[dict[str, Any]]) -> list[list[Any]]:
    return [[row["id"], row["version"], row.get("price"), row.get("availability")] for row in body]


def profile_facts(body: dict[str, Any]) -> dict[str, Any]:
    return {"id": body["id"], "full_name": body["full_name"]}


class CatalogueReader(Client):
    """Reads single items, often with If-None-Match, and now and then the list, page by page."""

    kind: ClassVar[str] = "reader"
    pause: ClassVar[tuple[float, float]] = (0.1, 0.5)

    async def prepare(self) -> None:
        self._tags: dict[int, str] = {}

    async def step(self) -> None:
        if self.random.random() < 0.1:
            await self._walk()
            return
        item_id = self.random.choice(self.load.items)["id"]
        tag = self._tags.get(item_id) if self.random.random() < 0.5 else None
        headers = {"If-None-Match": tag} if tag else {}
        call = await self.call(
            "item.read",
            "GET",
            f"/items/{item_id}",
            headers=headers,
            keep=item_facts,
            sent={"item": item_id, "tag": tag},
        )
        if call.done and "ETag" in self.raw.headers:
            self._tags[item_id] = self.raw.headers["ETag"]

    async def _walk(self) -> None:
        """The whole list by its cursors."""
        path, page, walk = "/items?sort=id&limit=10", 1, self.rounds
        while page <= 10:
            sent = {"walk": walk, "page": page, "last": False}
            call = await self.call("item.list", "GET", path, keep=page_facts, sent=sent)
            if not call.done:
                return
            link = self.raw.links.get("next", {}).get("url")
            call.sent["last"] = link is None
            if link is None:
                return
            path, page = link.partition("/api/v1")[2], page + 1


class ProfileReader(Client):
    """Signed in: reads the own profile, changes it, and reads it again at once."""

    kind: ClassVar[str] = "profile"
    pause: ClassVar[tuple[float, float]] = (0.2, 0.8)

    async def prepare(self) -> None:
        self.account = await Account.register(self, self.name)
        await self.account.token(self)

    async def step(self) -> None:
        if self.random.random() < 0.3:
            name = f"{self.name} {self.rounds}"
            body = {"full_name": name}
            await self.as_account(
                self.account, "profile.change", "PATCH", "/users/profile", body=body, keep=profile_facts
            )
        await self.as_account(
            self.account, "profile.read", "GET", "/users/profile", keep=profile_facts, sent={}
        )
        if self.random.random() < 0.2:
            await self.as_account(
                self.account,
                "notification.list",
                "GET",
                "/notifications?limit=5",
                keep=nothing,
                sent={},
            )
