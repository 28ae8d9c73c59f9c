"""A shop under load that is backed up, loses its database, and is started again on what was restored."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx2

from proofs.cases import Context
from proofs.load import Call, Load
from proofs.restore.cluster import Cluster
from proofs.restore.witness import Witness
from proofs.shop import Shop
from tests.server.process import started

CHANGES: Final = ("order.place", "order.pay", "order.ship", "order.deliver", "order.cancel", "order.refund")


@dataclass
class Scene:
    context: Context
    cluster: Cluster
    shop: Shop
    load: Load
    witness: Witness
    #: Between these two moments of the monotonic clock lies the point that is restored.
    begin: float = 0.0
    end: float = 0.0

    async def changed(self, count: int) -> None:
        """Wait until so many more changes of orders are confirmed."""
        most = len(self.changes()) + count
        while len(self.changes()) < most:
            await asyncio.sleep(0.02)

    def changes(self) -> list[Call]:
        """The confirmed changes of orders, each once: repetitions get the answer of the first."""
        calls = self.load.history.calls
        return [call for call in calls if call.operation in CHANGES and call.done and not call.replayed]

    async def lose(self) -> None:
        """The database with its folder, and the service, while clients order; these give up."""
        await self.cluster.lose()
        for process in (self.shop.api, self.shop.worker):
            process.process.kill()
            await asyncio.to_thread(process.process.wait)
        await self.load.abandon()

    def opened(self, token: str | None) -> httpx2.AsyncClient:
        return self.shop.client(token)

    @asynccontextmanager
    async def again(self) -> AsyncIterator[None]:
        """The service and the worker on the restored database, and the receiver where it was."""
        folder, settings = self.context.folder, self.shop.settings | {"DATABASE_URL": self.cluster.url}
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.load.receiver.listening())
            self.shop.api = stack.enter_context(started(folder / "api-again", **settings))
            self.shop.worker = stack.enter_context(
                started(folder / "worker-again", module=("service", "worker"), **settings)
            )
            await self.shop.up()
            yield
