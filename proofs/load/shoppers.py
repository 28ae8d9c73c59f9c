"""Customers who order, pay, change their minds, and send again what was not answered."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, ClassVar, Final

from proofs.load.accounts import VERIFY, Account, grant
from proofs.load.client import Client
from proofs.load.history import Call

ADDRESS: Final = {"street": "Obere Str. 57", "city": "Berlin", "postal_code": "12209", "country": "DE"}
AMOUNTS: Final = ("subtotal", "discount", "shipping_fee", "total")
LINE: Final = ("product_id", "quantity", "unit_price", "discount_pct", "line_total")
#: What comes after an order is placed, as the shop's own people and the customer have it.
ENDINGS: Final = (
    ("cancel",),
    ("pay",),
    ("pay", "ship"),
    ("pay", "ship", "deliver"),
    ("pay", "cancel", "refund"),
)
BODIES: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "pay": lambda key: {"reference": key},
    "ship": lambda key: {"tracking": key},
    "deliver": lambda _: {},
    "cancel": lambda _: {"reason": "Changed my mind"},
    "refund": lambda key: {"reference": key},
}


def order_facts(body: dict[str, Any]) -> dict[str, Any]:
    facts = {name: body[name] for name in ("id", "version", "status", "reference", "refund_due", *AMOUNTS)}
    facts["lines"] = [[line[name] for name in LINE] for line in body["lines"]]
    facts["timeline"] = [event["status"] for event in body["events"]]
    return facts


def list_facts(body: list[dict[str, Any]]) -> list[list[Any]]:
    return [[order["id"], order["version"], order["status"]] for order in body]


class Shopper(Client):
    kind: ClassVar[str] = "shopper"

    async def prepare(self) -> None:
        self.account = await Account.register(self, self.name)
        await grant(self.load.database_url, VERIFY, self.account.email)
        await self.account.token(self)

    async def step(self) -> None:
        placed = await self._place()
        if not placed.done:
            return
        order_id = placed.body["id"]
        await self._look(order_id)
        if self.random.random() < 0.15:
            await self._race(order_id)
            return
        for name in self.random.choice(ENDINGS):
            moved = await self._transition(order_id, name)
            if not moved.done:
                return
        await self._look(order_id)

    async def _place(self) -> Call:
        """By the customer, or by an administrator who has agreed a discount with them."""
        key, chance = self.new_key("order"), self.random
        items = chance.sample(self.load.items, chance.randint(1, 3))
        lines = [self._line(item) for item in items]
        shipping = chance.choice(("standard", "express"))
        body: dict[str, Any] = {"lines": lines, "shipping": shipping, "ship_to": ADDRESS, "reference": key}
        account = self.account
        if chance.random() < 0.15:
            account, body["user_id"] = self.load.administrator, self.account.id
            for line in lines:
                line["discount_pct"] = chance.choice(("5.00", "12.50", "33.33"))
        elif chance.random() < 0.05:
            lines[0]["unit_price"] = f"{Decimal(items[0]['price']) + 1}"  # never seen: it must be refused
        hang_up = chance.uniform(0.001, 0.05) if chance.random() < 0.06 else None
        both = chance.random() < 0.08
        again = chance.random() < 0.15

        async def send() -> Call:
            return await self.as_account(
                account,
                "order.place",
                "POST",
                "/orders",
                key=key,
                body=body,
                keep=order_facts,
                abandon_after=hang_up,
            )

        placed = await self._together(send) if both else await send()
        if again and placed.done:
            await self._send_again(account, key, body)
        return placed

    def _line(self, item: dict[str, Any]) -> dict[str, Any]:
        line = {"product_id": item["id"], "quantity": self.random.randint(1, 3)}
        if self.random.random() < 0.2:
            line["unit_price"] = item["price"]  # perhaps not the price any more
        return line

    @staticmethod
    async def _together(send: Callable[[], Awaitable[Call]]) -> Call:
        """Twice at the same time under one key: the answer of either."""
        calls = await asyncio.gather(send(), send())
        return next((call for call in calls if call.done), calls[0])

    async def _send_again(self, account: Account, key: str, body: dict[str, Any]) -> None:
        """The same again, and another order under the key, which must be refused."""
        options: dict[str, Any] = {"key": key, "keep": order_facts}
        await self.as_account(account, "order.place", "POST", "/orders", body=body, **options)
        other = {**body, "shipping": "standard" if body["shipping"] == "express" else "express"}
        await self.as_account(account, "order.misuse_key", "POST", "/orders", body=other, **options)

    async def _look(self, order_id: int) -> None:
        """Right after an own write: it must be there."""
        path = f"/orders/{order_id}"
        sent = {"order": order_id}
        await self.as_account(self.account, "order.read", "GET", path, keep=order_facts, sent=sent)
        if self.random.random() < 0.3:
            await self.as_account(
                self.account, "order.list", "GET", "/orders?limit=20", keep=list_facts, sent={"limit": 20}
            )

    async def _race(self, order_id: int) -> None:
        """A payment and a cancellation at the same time: both may win, if the payment is first."""
        await asyncio.gather(self._transition(order_id, "pay"), self._transition(order_id, "cancel"))
        await self._look(order_id)

    async def _transition(self, order_id: int, name: str) -> Call:
        account = self.account if name == "cancel" else self.load.administrator
        key = self.new_key(name)
        hang_up = self.random.uniform(0.001, 0.03) if self.random.random() < 0.05 else None
        return await self.as_account(
            account,
            f"order.{name}",
            "POST",
            f"/orders/{order_id}/{name}",
            key=key,
            body=BODIES[name](key),
            sent={"order": order_id},
            keep=order_facts,
            abandon_after=hang_up,
        )
