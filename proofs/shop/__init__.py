"""The service as `tradepost serve` and `tradepost worker` start it, on a durable PostgreSQL of its own."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2

from proofs.shop.postgresql import PostgreSQL
from service.platform.config import generate_key
from tests.helpers.client import V1
from tests.helpers.waiting import PATIENCE_SECONDS, eventually
from tests.server.process import PASSWORD, Service, started, tradepost

ADMINISTRATOR: Final = "ada@shop.example"
ITEMS: Final = 40
STOCK: Final = 1_000_000
#: As the service has it by default, where tests wait longer.
DEFAULTS: Final = {"DATABASE_POOL_TIMEOUT": "5", "WEBHOOK_ALLOW_PRIVATE": "true"}


@dataclass
class Shop:
    """A running shop. `settings` are those that both processes were started with."""

    folder: Path
    postgresql: PostgreSQL
    settings: dict[str, Any]
    api: Service
    worker: Service
    #: Ids of the items that are on sale.
    items: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.api.url

    def client(self, token: str | None = None, **options: Any) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        options = {"timeout": PATIENCE_SECONDS, "headers": headers, **options}
        return httpx2.AsyncClient(base_url=f"{self.url}{V1}", **options)

    async def sign_in(self, email: str = ADMINISTRATOR) -> str:
        """An access token."""
        form = {"grant_type": "password", "username": email, "password": PASSWORD}
        async with self.client() as client:
            return str(
                (await client.post("/auth/token", data=form)).raise_for_status().json()["access_token"]
            )

    async def up(self) -> None:
        """Return once both processes are ready."""
        for process in (self.api, self.worker):
            await eventually(lambda: asyncio.to_thread(process.answers))  # noqa: B023 - awaited here

    async def verify(self) -> list[str]:
        """What `tradepost verify` finds: a sentence for each fault."""
        settings = {**self.settings, "DATABASE_URL": self.postgresql.url}
        report = await self.command("verify", "--json", **settings)
        if report.returncode not in (0, 1):
            return [f"tradepost verify ended with {report.returncode}: {report.stderr[-500:]}"]
        checks = json.loads(report.stdout)["checks"]
        return [f"verify: {check['check']}: {one}" for check in checks for one in check["first"]]

    async def command(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """A command of the service, which ends by itself; with these settings in place of the shop's."""
        return await asyncio.to_thread(tradepost, self.folder, *arguments, **(settings or self.settings))


@asynccontextmanager
async def shop(
    folder: Path,
    *,
    workers: int = 2,
    postgresql: PostgreSQL | None = None,
    wrapper: tuple[str, ...] = (),
    items: int = ITEMS,
    **settings: object,
) -> AsyncIterator[Shop]:
    """Migrated, with some items on sale and an administrator; ready. All of it ends with the block.

    `settings` are given to both processes; DATABASE_URL leads them through a proxy, for instance, while what
    prepares the shop goes to `postgresql` itself, which is made unless it is given. `wrapper` is a command
    before theirs, such as one that enters a network namespace.
    """
    database = postgresql or await PostgreSQL.create(folder / "postgresql")
    try:
        given: dict[str, Any] = DEFAULTS | {"SECRET_KEY": generate_key(), "DATABASE_URL": database.url}
        given |= {"ADMIN_EMAIL": ADMINISTRATOR, "ADMIN_PASSWORD": PASSWORD, "WEB_CONCURRENCY": str(workers)}
        given |= {name: str(value) for name, value in settings.items()}
        migrated = await asyncio.to_thread(
            tradepost, folder, "migrate", **{**given, "DATABASE_URL": database.url}
        )
        if migrated.returncode:
            raise RuntimeError(f"tradepost migrate: {migrated.stderr[-2_000:]}")
        with ExitStack() as processes:
            api = processes.enter_context(started(folder / "api", wrapper=wrapper, **given))
            worker = processes.enter_context(
                started(folder / "worker", module=("service", "worker"), wrapper=wrapper, **given)
            )
            made = Shop(folder, database, given, api, worker)
            await made.up()
            made.items = await _stocked(made, items)
            yield made
    finally:
        await database.stop()


async def _stocked(made: Shop, items: int) -> list[int]:
    goods = [
        {"name": f"Tea {number}", "price": f"{number}.95", "stock": STOCK} for number in range(1, items + 1)
    ]
    async with made.client(await made.sign_in()) as admin:
        answer = (await admin.post("/items/batch", json=goods)).raise_for_status()
    return [item["id"] for item in answer.json()]
