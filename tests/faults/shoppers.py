"""Customers with pooled connections, as any HTTP client has them: none tries anything a second time."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from tests.helpers.client import V1
from tests.server.process import PASSWORD

#: The longest time between what a customer does and the next. The last one's connections are mostly idle.
THINKING_SECONDS: Final = (*[1.2] * 7, 2.0)
PATIENCE_SECONDS: Final = 60.0
CREATED: Final = 201


@dataclass
class Shopper:
    """Each buys an item of their own: it is not the database's locks that are rehearsed."""

    item_id: int
    token: str


async def registered(url: str) -> list[Shopper]:
    """As many as there are times to think."""
    shoppers = []
    async with httpx2.AsyncClient(base_url=f"{url}{V1}", timeout=PATIENCE_SECONDS) as client:
        for number in range(1, len(THINKING_SECONDS) + 1):
            email = f"shopper-{number}@shop.example"
            body = {"email": email, "password": PASSWORD, "full_name": "Maria Anders"}
            assert (await client.post("/users", json=body)).status_code == 201
            form = {"grant_type": "password", "username": email, "password": PASSWORD}
            answer = await client.post("/auth/token", data=form)
            assert answer.status_code == 200, answer.text
            shoppers.append(Shopper(number, answer.json()["access_token"]))
    return shoppers


class Shopping:
    """What they sent, and what came of it. `orders` are the references of those that were confirmed."""

    def __init__(self, url: str, name: str) -> None:
        self.sent = 0
        self.answers: Counter[int] = Counter()
        self.faults: list[str] = []
        self.orders: list[str] = []
        self._url, self._name = url, name
        self._done = asyncio.Event()

    @asynccontextmanager
    async def of(self, shoppers: list[Shopper]) -> AsyncIterator[None]:
        """For as long as this runs; each finishes what they have begun."""
        async with asyncio.TaskGroup() as group:
            for shopper in shoppers:
                group.create_task(self._shop(shopper, THINKING_SECONDS[shopper.item_id - 1]))
            try:
                yield
            finally:
                self._done.set()

    async def goes_on(self) -> None:
        """Return when one more order is confirmed."""
        before = len(self.orders)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.orders) == before:  # noqa: ASYNC110 - it is no event, but one of many
                await asyncio.sleep(0.02)

    def _client(self, **headers: str) -> httpx2.AsyncClient:
        limits = httpx2.Limits(max_connections=20, max_keepalive_connections=20, keepalive_expiry=60)
        return httpx2.AsyncClient(
            base_url=f"{self._url}{V1}", headers=headers, limits=limits, timeout=PATIENCE_SECONDS
        )

    async def _shop(self, shopper: Shopper, thinking: float) -> None:
        chance, step = random.Random(shopper.item_id), 0
        async with (
            self._client(Authorization=f"Bearer {shopper.token}") as client,
            self._client() as stranger,
        ):
            while not self._done.is_set():
                step += 1
                await asyncio.gather(
                    self._ask(client, "GET", "/users/profile"),
                    self._ask(stranger, "GET", f"/items/{shopper.item_id}"),
                    self._order(client, shopper, f"{self._name}-{shopper.item_id}-{step}"),
                )
                await asyncio.sleep(chance.uniform(0, thinking))

    async def _order(self, client: httpx2.AsyncClient, shopper: Shopper, reference: str) -> None:
        """And cancel it: nobody may have many that are not paid."""
        body = {"product_id": shopper.item_id, "quantity": 1, "reference": reference}
        headers = {"Idempotency-Key": f"{reference}-is-placed"}
        placed = await self._ask(client, "POST", "/orders", json=body, headers=headers)
        if placed is not None and placed.status_code == CREATED:
            self.orders.append(reference)
            path = f"/orders/{placed.json()['id']}/cancel"
            headers = {"Idempotency-Key": f"{reference}-is-cancelled"}
            await self._ask(client, "POST", path, json={"reason": "A rehearsal"}, headers=headers)

    async def _ask(
        self, client: httpx2.AsyncClient, method: str, path: str, **options: Any
    ) -> httpx2.Response | None:
        self.sent += 1
        try:
            answer = await client.request(method, path, **options)
        except httpx2.TransportError as fault:
            self.faults.append(f"{method} {path}: {fault!r}")
            return None
        self.answers[answer.status_code] += 1
        if not answer.is_success:
            self.faults.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer
