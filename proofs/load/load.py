"""The steady load: clients of every kind, all recorded, until the block is left."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

import asyncpg

from proofs.load.accounts import PROMOTE, Account, grant
from proofs.load.administrator import Administrator
from proofs.load.client import LAST_TRIES_SECONDS, Client
from proofs.load.history import History
from proofs.load.pollers import Poller
from proofs.load.readers import CatalogueReader, ProfileReader, item_facts
from proofs.load.receiver import EVENTS, Receiver
from proofs.load.revocations import Revoker
from proofs.load.sessions import Refresher, Thief
from proofs.load.shoppers import Shopper

#: Ids of the messages that a webhook is due: of events since it was made.
SUBSCRIBED: Final = """
    SELECT 'evt_' || events.id AS message_id FROM events JOIN webhooks ON events.type = ANY (webhooks.events)
    WHERE webhooks.id = $1 AND events.occurred_at >= webhooks.created_at
"""
#: What the service must be started with beside the frame's own settings.
SETTINGS: Final[dict[str, Any]] = {"WEBHOOK_ALLOW_PRIVATE": "true", "SHIPPING_RATES": "express=7.45"}
#: How many of each kind. Together 30 to 60 requests a second.
CLIENTS: Final[dict[type[Client], int]] = {
    Shopper: 4,
    CatalogueReader: 2,
    ProfileReader: 1,
    Refresher: 2,
    Thief: 1,
    Revoker: 2,
    Administrator: 1,
    Poller: 2,
}
#: Prices that make cents round, and stock that runs out now and then.
ITEMS: Final = (
    ("0.35", 2_000, 5),
    ("7.77", 2_000, 5),
    ("19.99", 1_000, 20),
    ("12.50", 1_000, 5),
    ("3.33", 60, 10),
    ("49.95", 25, 10),
)


class _Api(Protocol):
    @property
    def url(self) -> str: ...


class _PostgreSQL(Protocol):
    @property
    def url(self) -> str: ...


class Target(Protocol):
    """What of a shop the load needs."""

    @property
    def api(self) -> _Api: ...

    @property
    def postgresql(self) -> _PostgreSQL: ...


class Load:
    """`history` has every call so far; `receiver.deliveries` every delivery of a webhook."""

    def __init__(
        self, target: Target, seed: int, *, url: str | None = None, folder: Path | None = None
    ) -> None:
        self.seed = seed
        self.name = f"load{secrets.token_hex(3)}"
        self.history = History(folder)
        self.receiver = Receiver(self.history, str(seed))
        self.items: list[dict[str, Any]] = []
        self.start_stock: dict[int, int] = {}
        self.start_prices: dict[int, str] = {}
        self.administrator = Account("")
        self.ending, self.others_ended = asyncio.Event(), asyncio.Event()
        self.ended_at: float | None = None
        self.numbers = 0
        self.webhook_id = 0
        self.abandoned = False
        #: Whether deliveries have been waited for: what did not come then is not waited for again.
        self.waited = False
        self.clients: list[Client] = []
        self._working: list[asyncio.Task[None]] = []
        self._polling: list[asyncio.Task[None]] = []
        self._target, self._url = target, url

    @property
    def url(self) -> str:
        return self._url or self._target.api.url

    @property
    def database_url(self) -> str:
        return self._target.postgresql.url.replace("postgresql+asyncpg://", "postgresql://")

    async def settled(self, within: float = 120.0) -> dict[str, float]:
        """Wait until each kind of client had a good answer to what it asked since now: seconds, by kind."""
        now = time.monotonic()
        waiting = {client.kind for client in self.clients if client.steady}
        found: dict[str, float] = {}
        while waiting:
            if time.monotonic() > now + within:
                raise TimeoutError(f"no good answer in {within:.0f} s for: {', '.join(sorted(waiting))}")
            for kind in [*waiting]:
                begin, end = self.history.last_good.get(kind, (0.0, 0.0))
                if begin >= now:
                    found[kind] = end - now
                    waiting.remove(kind)
            await asyncio.sleep(0.01)
        return found

    async def prepare(self, sizes: dict[type[Client], int]) -> None:
        """Before any fault: accounts, items and the webhook. Whatever fails here is raised."""
        founder = Founder(self, 1)
        await founder.prepare()
        for kind, count in sizes.items():
            for number in range(1, count + 1):
                client = kind(self, number)
                await client.prepare()
                self.clients.append(client)

    async def run(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for client in self.clients:
                polls = isinstance(client, Poller)
                (self._polling if polls else self._working).append(group.create_task(client.run()))
            yield
            await self.finish()

    async def finish(self) -> None:
        """Let every client end what it has begun, then the pollers, then the deliveries of webhooks."""
        if self.ended_at is None:
            await self._end(time.monotonic())

    async def abandon(self) -> None:
        """The service is gone for good: let no client try to learn the outcome of what it has sent."""
        self.abandoned = True
        await self._end(time.monotonic() - LAST_TRIES_SECONDS)

    async def _end(self, at: float) -> None:
        self.ended_at = at
        self.ending.set()
        await asyncio.wait(self._working)
        self.others_ended.set()
        await asyncio.wait(self._polling)

    async def delivered(self, within: float = 90.0) -> list[str]:
        """Wait until the receiver has accepted every event; the ids of those that did not come."""
        deadline, self.waited = time.monotonic() + within, True
        while missing := await self._undelivered():
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.3)
        return sorted(missing)

    async def _undelivered(self) -> set[str]:
        accepted = {each.message_id for each in self.receiver.deliveries if each.accepted}
        with suppress(OSError, asyncpg.PostgresError, TimeoutError):
            connection = await asyncpg.connect(self.database_url, timeout=5)
            try:
                rows = await connection.fetch(SUBSCRIBED, self.webhook_id)
            finally:
                await connection.close()
            return {row["message_id"] for row in rows} - accepted
        return {"the database does not answer"}


class Founder(Client):
    """Makes what the others start from."""

    kind = "founder"
    steady = False

    async def step(self) -> None:
        """It has no rounds."""

    async def prepare(self) -> None:
        load = self.load
        load.administrator = await Account.register(self, "administrator")
        await grant(load.database_url, PROMOTE, load.administrator.email)
        for number, (price, stock, level) in enumerate(ITEMS):
            name = f"{load.name}-{number}"
            body = {
                "name": f"Chai {name}",
                "price": price,
                "sku": name,
                "stock": stock,
                "reorder_level": level,
            }
            made = await self.as_account(
                load.administrator,
                "item.create",
                "POST",
                "/items",
                key=f"{name}-item",
                body=body,
                keep=item_facts,
            )
            load.items.append({"id": made.body["id"], "price": price})
            load.start_stock[made.body["id"]] = stock
            load.start_prices[made.body["id"]] = price
        await self._subscribe()

    async def _subscribe(self) -> None:
        body = {"url": self.load.receiver.url, "events": list(EVENTS)}
        made = await self.as_account(
            self.load.administrator,
            "webhook.create",
            "POST",
            "/webhooks",
            body=body,
            keep=lambda answer: {"id": answer["id"]},
        )
        if not made.done:
            raise RuntimeError(f"the webhook: {made.status} {made.body}; is WEBHOOK_ALLOW_PRIVATE set?")
        self.load.webhook_id = made.body["id"]
        self.load.receiver.secret = self.raw.json()["secret"]


@asynccontextmanager
async def steady_load(
    target: Target,
    seed: int,
    *,
    url: str | None = None,
    folder: Path | None = None,
    clients: dict[type[Client], int] | None = None,
) -> AsyncIterator[Load]:
    """Run clients against `target` (its `url`, or another such as a proxy's) until the block is left.

    Then each finishes what it has begun: an order whose answer was lost is sent until it is answered. And
    what is due by webhook is waited for, at most a minute and a half.
    `folder` gets the history as JSON lines. The service must have been started with SETTINGS.
    """
    load = Load(target, seed, url=url, folder=folder)
    async with load.receiver.listening():
        try:
            await load.prepare(clients or CLIENTS)
            async with asynccontextmanager(load.run)():
                yield load
            if not (load.abandoned or load.waited):
                await load.delivered()
        finally:
            load.history.close()
