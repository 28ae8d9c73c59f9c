"""The shop's own people: prices, stock, new items and withdrawn ones, and posts."""

from typing import Any, ClassVar

from proofs.load.client import Client
from proofs.load.history import Call
from proofs.load.readers import item_facts


def post_facts(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in ("id", "version", "title", "status")}


def stock_facts(body: dict[str, Any]) -> dict[str, Any]:
    return {"item": body["item_id"], "quantity": body["quantity"]}


class Administrator(Client):
    """The only one who changes prices: what a price can be at a moment follows from these calls."""

    kind: ClassVar[str] = "administrator"
    pause: ClassVar[tuple[float, float]] = (0.3, 1.2)

    async def prepare(self) -> None:
        self._posts: list[int] = []
        self._extra: list[int] = []
        self._seen: dict[int, tuple[str, int | None]] = {}

    async def step(self) -> None:
        steps = (self._price, self._stock, self._post, self._item)
        await self.random.choices(steps, weights=(4, 4, 3, 1))[0]()

    async def _ask(self, operation: str, method: str, path: str, **options: Any) -> Call:
        return await self.as_account(self.load.administrator, operation, method, path, **options)

    async def _price(self) -> None:
        """With If-Match of this version or, which must change nothing, of an older one; or of any version."""
        item = self.random.choice(self.load.items)
        price = f"{self.random.randint(35, 4_999) / 100:.2f}"
        version: int | None = None
        tag = "*"
        if self.random.random() < 0.6:
            seen = await self._ask(
                "item.read", "GET", f"/items/{item['id']}", keep=item_facts, sent={"item": item["id"]}
            )
            if not seen.done:
                return
            tag, version = self.raw.headers["ETag"], seen.version
            if self.random.random() < 0.25:
                tag, version = self._seen.get(item["id"], (tag, version))
            else:
                self._seen[item["id"]] = tag, version
        changed = await self._ask(
            "item.price",
            "PATCH",
            f"/items/{item['id']}",
            body={"price": price},
            headers={"If-Match": tag},
            sent={"item": item["id"], "price": price, "if_version": version},
            keep=item_facts,
        )
        if changed.done:
            item["price"] = price

    async def _stock(self) -> None:
        """More of it, or now and then less; its reason is its name in the ledger."""
        item, key = self.random.choice(self.load.items), self.new_key("stock")
        delta = self.random.choice((40, 20, 10, -3))
        await self._create(
            "stock.adjust",
            "POST",
            f"/items/{item['id']}/stock",
            key=key,
            body={"delta": delta, "reason": key},
            sent={"item": item["id"], "delta": delta, "reason": key},
            keep=stock_facts,
        )

    async def _create(self, operation: str, method: str, path: str, **options: Any) -> Call:
        """Now and then it hangs up, and sends the same again, or does that although it has the answer."""
        chance = self.random.random()
        patience = self.random.uniform(0.001, 0.05) if chance < 0.15 else None
        made = await self._ask(operation, method, path, abandon_after=patience, **options)
        if made.done and 0.15 <= chance < 0.4:
            await self._ask(operation, method, path, **options)
        return made

    async def _item(self) -> None:
        """A new one, or one of these is withdrawn: for those who follow the catalogue."""
        if self._extra and self.random.random() < 0.5:
            item_id = self._extra.pop()
            await self._ask("item.withdraw", "DELETE", f"/items/{item_id}", sent={"item": item_id})
            return
        key = self.new_key("item")
        body = {"name": f"Tea {key}", "price": "3.50", "sku": key[-60:], "stock": 5}
        made = await self._create("item.create", "POST", "/items", key=key, body=body, keep=item_facts)
        if made.done:
            self._extra.append(made.body["id"])

    async def _post(self) -> None:
        key, chance = self.new_key("post"), self.random.random()
        if self._posts and chance < 0.3:
            post_id = self.random.choice(self._posts)
            body = {"title": f"News {key}"}
            sent = {"post": post_id, **body}
            await self._ask(
                "post.change", "PATCH", f"/posts/{post_id}", body=body, sent=sent, keep=post_facts
            )
        elif self._posts and chance < 0.45:
            post_id = self._posts.pop(0)
            await self._ask("post.delete", "DELETE", f"/posts/{post_id}", sent={"post": post_id})
        else:
            body = {"title": f"News {key}", "body": "The first boxes have arrived."}
            made = await self._create("post.create", "POST", "/posts", key=key, body=body, keep=post_facts)
            if made.done:
                self._posts.append(made.body["id"])
