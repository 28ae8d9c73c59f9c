"""Customers who use the shop all the time, and the administrator who sells them something."""

import asyncio
import os
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from counts import Counts
from session import V1, Session

STOCK = 1_000_000
HOME = {"street": "1 Rollout Street", "city": "Berlin", "postal_code": "12209", "country": "DE"}
#: How often a request of an order is sent again in the end, and the pause before each.
RETRIES, RETRY_SECONDS = 60, 1.0


@dataclass
class Order:
    """One that a client places and cancels. `id` is None until a response has it."""

    reference: str
    item_id: int
    id: int | None = None
    cancelled: bool = False


class Client:
    """One customer."""

    def __init__(self, url: str, counts: Counts, *, keeps: bool, item_id: int | None) -> None:
        email = f"rollout-{secrets.token_hex(8)}@tradepost.example"
        self._session = Session(url, counts, email, f"{secrets.token_urlsafe(18)}-1", keeps=keeps)
        self._counts, self._item_id = counts, item_id
        self._orders: list[Order] = []

    async def register(self) -> None:
        body = {"email": self._session.email, "password": self._session.password, "full_name": "Roll Out"}
        answer = await self._session.http.post("/users", json=body)
        if answer.status_code != 201:
            raise SystemExit(f"rollout_load: cannot register: {answer.status_code} {answer.text[:300]}")

    async def run(self, pause: float, sign_in_seconds: float, stopped: asyncio.Event) -> None:
        email, asked = self._session.email, self._session.asked
        for number in count():
            if time.monotonic() - self._session.signed_in > sign_in_seconds:
                await self._session.sign_in()
            name = f"Roll Out {number}"
            await asked("GET", "/items?limit=5", 200)
            await asked("GET", "/users/profile", 200, shows={"email": email})
            await asked("PATCH", "/users/profile", 200, shows={"full_name": name}, json={"full_name": name})
            await self._order()
            if stopped.is_set():
                return
            await asyncio.sleep(pause)

    async def leave(self) -> None:
        """Reconcile the orders, and delete the account."""
        if self._orders:
            await self._reconcile()
        body = {"current_password": self._session.password}
        await self._session.asked("DELETE", "/users/profile", 204, json=body)
        await self._session.http.aclose()

    async def _order(self) -> None:
        """Send what had no response once more with its key, or else place the next order and cancel it."""
        if self._item_id is None:
            return
        if not self._orders or self._orders[-1].cancelled:
            self._orders.append(Order(f"rollout-{secrets.token_hex(12)}", self._item_id))
        await self._finish(self._orders[-1])

    async def _finish(self, order: Order) -> None:
        if order.id is None:
            body = {
                "product_id": order.item_id, "quantity": 1, "ship_to": HOME, "reference": order.reference,
            }  # fmt: skip
            key = {"Idempotency-Key": f"{order.reference}-place"}
            shows = {"reference": order.reference}
            answer = await self._session.asked("POST", "/orders", 201, shows=shows, json=body, headers=key)
            if answer is None:
                return
            order.id = answer.json()["id"]
        key = {"Idempotency-Key": f"{order.reference}-cancel"}
        answer = await self._session.asked(
            "POST",
            f"/orders/{order.id}/cancel",
            200,
            name="/orders/{id}/cancel",
            shows={"id": order.id, "status": "cancelled"},
            json={"reason": "A rollout is tried"},
            headers=key,
        )
        order.cancelled = answer is not None

    async def _reconcile(self) -> None:
        last = self._orders[-1]
        for _ in range(RETRIES):
            if last.cancelled:
                break
            await asyncio.sleep(RETRY_SECONDS)
            await self._session.sign_in()
            await self._finish(last)
        found = Counter([(order["reference"], order["status"]) async for order in self._own_orders()])
        expected = Counter((order.reference, "cancelled") for order in self._orders)
        self._counts.orders += (found & expected).total()
        for kind, orders in (("missing", expected - found), ("not expected", found - expected)):
            self._counts.wrong += [
                f"order {kind}: {order}, {number} times" for order, number in orders.items()
            ]

    async def _own_orders(self) -> AsyncIterator[dict[str, Any]]:
        path = "/orders?limit=100"
        while path:
            answer = await self._session.asked("GET", path, 200, name="/orders")
            if answer is None:
                self._counts.wrong.append("the orders could not be read")
                return
            for order in answer.json():
                yield order
            path = str(answer.links.get("next", {}).get("url", "")).partition(V1)[2]


class Shop:
    """The item that is ordered, of an administrator who adds and withdraws it."""

    def __init__(self, url: str, counts: Counts) -> None:
        self._session = Session(
            url, counts, os.environ["ADMIN_EMAIL"], os.environ["ADMIN_PASSWORD"], keeps=False
        )
        self._counts = counts
        self.item_id = 0

    async def open(self) -> None:
        await self._session.sign_in()
        new = {"name": "Rollout, not for sale", "price": "12.50", "stock": STOCK}
        answer = await self._session.asked("POST", "/items", 201, json=new)
        if answer is None:
            raise SystemExit(
                "rollout_load: the administrator cannot add an item: " + "".join(self._counts.first)
            )
        self.item_id = answer.json()["id"]

    async def close(self) -> None:
        await self._session.sign_in()
        path = f"/items/{self.item_id}"
        answer = await self._session.asked("GET", f"{path}/stock", 200, name="/items/{id}/stock")
        if answer is None or answer.json()["quantity"] != STOCK:
            self._counts.wrong.append(f"the stock is {answer and answer.json()}, not {STOCK}")
        await self._session.asked("DELETE", path, 204, name="/items/{id}")
        await self._session.http.aclose()
