"""Requests at a steady rate beside the recorded ones: first as many as it can answer, then half of that."""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

from proofs.shop import ADMINISTRATOR, Shop
from tests.helpers.client import V1

CLIENTS: Final = 12
#: An access token is good for ten minutes.
RENEW_SECONDS: Final = 300.0
#: Of a hundred requests: those that read what the public sees, place an order, and pay the last one placed.
READS, ORDERS = 74, 12
#: Every so many orders an invoice is drawn, so that the process that draws them stays.
INVOICE_EVERY: Final = 100
TIMEOUT_SECONDS: Final = 30.0


class Connection:
    """HTTP/1.1 over one connection that is kept: a client library would take as much CPU as the service."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            if self._writer is None or self._writer.is_closing():
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            assert self._reader is not None
            content = b"" if body is None else json.dumps(body).encode()
            lines = [f"{method} {V1}{path} HTTP/1.1", "Host: shop.test", f"Content-Length: {len(content)}"]
            lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
            if content:
                lines.append("Content-Type: application/json")
            self._writer.write("\r\n".join([*lines, "", ""]).encode() + content)
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("content-length:")[2].partition("\r\n")[0])
            answer = await self._reader.readexactly(length)
            if "\r\nconnection: close" in head:
                self.close()
            return int(head[9:12]), answer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class Pressure:
    """`statuses` counts the answers by status, 0 for none at all. `rate` is in requests a second, None for as
    many as come out.
    """

    def __init__(self, shop: Shop, seed: int) -> None:
        self.statuses = Counter[int]()
        self.rate: float | None = None
        self._shop, self._seed = shop, seed
        self._keys = itertools.count()
        self._token = ""
        self._unpaid: list[int] = []

    async def capacity(self, seconds: float) -> float:
        """Requests a second that are answered while each client asks again at once."""
        self.rate, before, begin = None, self.statuses.total(), time.monotonic()
        await asyncio.sleep(seconds)
        return (self.statuses.total() - before) / (time.monotonic() - begin)

    @asynccontextmanager
    async def applied(self) -> AsyncIterator[Self]:
        await self._renew()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._client(number)) for number in range(CLIENTS)]
            tasks.append(group.create_task(self._keep_signed_in()))
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()

    async def _keep_signed_in(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self._renew()

    async def _renew(self) -> None:
        self._token = await self._shop.sign_in(ADMINISTRATOR)

    async def _client(self, number: int) -> None:
        chance, connection = random.Random(f"{self._seed}-{number}"), Connection(self._shop.api.port)
        due = time.monotonic()
        try:
            while True:
                try:
                    status = await self._one(connection, chance)
                except (OSError, asyncio.IncompleteReadError, TimeoutError):
                    connection.close()
                    status = 0
                self.statuses[status] += 1
                due = max(due + CLIENTS / self.rate, time.monotonic() - 1) if self.rate else time.monotonic()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            connection.close()

    async def _one(self, connection: Connection, chance: random.Random) -> int:
        headers = {"Authorization": f"Bearer {self._token}"}
        number = chance.randrange(100)
        if number < READS:
            return await self._read(connection, chance, headers if number % 4 == 0 else {})
        key = next(self._keys)
        headers["Idempotency-Key"] = f"pressure-{self._seed}-{key}"
        if number < READS + ORDERS or not self._unpaid:
            lines = [{"product_id": item, "quantity": 1} for item in chance.sample(self._shop.items, 2)]
            status, answer = await connection.ask("POST", "/orders", {"lines": lines}, headers)
            if status == 201:
                self._unpaid.append(json.loads(answer)["id"])
            return status
        order = self._unpaid.pop(0)
        if key % INVOICE_EVERY == 0:
            del headers["Idempotency-Key"]
            return (await connection.ask("GET", f"/orders/{order}/invoice.pdf", None, headers))[0]
        body = {"reference": f"{key}"}
        return (await connection.ask("POST", f"/orders/{order}/pay", body, headers))[0]

    async def _read(self, connection: Connection, chance: random.Random, headers: dict[str, str]) -> int:
        item = chance.choice(self._shop.items)
        path = chance.choice((f"/items/{item}", f"/items/{item}", "/items", f"/items?search=tea+{item}"))
        if headers:
            path = chance.choice(("/users/profile", "/orders?limit=10", path))
        return (await connection.ask("GET", path, None, headers))[0]
