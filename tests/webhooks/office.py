"""What tests of webhooks have in common: webhooks of receivers on this machine, and a worker's part of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
from standardwebhooks import Webhook

from service.container.api import Container
from service.events import EventType
from service.events import repository as events
from service.webhooks.deliveries import service as deliveries
from service.webhooks.deliveries.http_client import DeliveryClient
from service.webhooks.deliveries.service import Deliveries
from service.webhooks.targets import Targets
from tests.helpers.factories import Person
from tests.webhooks.receiver import Receiver, Request

ORDER = {"id": 10248, "version": 1, "status": "placed", "total": "440.00"}


@dataclass
class Office:
    """Delivers as a worker does, but only when called."""

    container: Container
    sql: asyncpg.Connection
    deliveries: Deliveries

    async def webhook(self, admin: Person, url: str | Receiver, *event_types: str) -> dict[str, Any]:
        """As the API answers to its creation: with the secret."""
        url = url.url if isinstance(url, Receiver) else url
        answer = await admin.api.post("/webhooks", json={"url": url, "events": [*event_types] or ["*"]})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def happen(self, event_type: EventType = "order.placed", **data: Any) -> int:
        """An event, delivered to its consumers; its id."""
        async with self.container.database.transaction() as session:
            event_id = await events.publish(session, event_type, object_id=10248, data={**ORDER, **data})
        await self.fan_out(event_id)
        return event_id

    async def fan_out(self, event_id: int) -> int:
        async with self.container.database.transaction() as session:
            event = await events.get(session, event_id)
            assert event is not None
            return await deliveries.fan_out(session, event)

    async def jobs(self) -> list[int]:
        """The deliveries that are due in the queue."""
        rows = await self.sql.fetch(
            "SELECT payload FROM pgqueuer WHERE entrypoint = 'webhook' AND execute_after <= now() ORDER BY id"
        )
        return [json.loads(row["payload"])["delivery_id"] for row in rows]

    async def deliver(self, delivery_id: int) -> None:
        """One job, whether or not there is one."""
        of = await self.sql.fetchval("SELECT webhook_id FROM webhook_deliveries WHERE id = $1", delivery_id)
        await self.deliveries.deliver(of, delivery_id)

    async def work(self) -> int:
        """Do what is due in the queue until nothing is, as a worker does; how many jobs that were."""
        running: set[asyncio.Task[None]] = set()
        done = 0
        while True:
            rows = await self.sql.fetch(
                "DELETE FROM pgqueuer WHERE entrypoint = 'webhook' AND execute_after <= now()"
                " RETURNING id, payload"
            )
            due = [json.loads(row["payload"]) for row in sorted(rows, key=lambda row: row["id"])]
            running |= {asyncio.create_task(self.deliveries.deliver(**payload)) for payload in due}
            if not running:
                return done
            over, running = await asyncio.wait(running, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            for task in over:
                task.result()
            done += len(over)

    async def pass_time(self) -> None:
        """It is as late as the next try, and whatever else was to be waited for is over."""
        await self.sql.execute(
            "UPDATE webhook_deliveries SET next_try_at = now() WHERE status = 'pending';"
            " UPDATE webhooks SET paused_until = NULL; UPDATE pgqueuer SET execute_after = now()"
        )

    async def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        """Of every delivery."""
        found = await self.sql.fetch(f"SELECT {', '.join(columns)} FROM webhook_deliveries ORDER BY id")
        return [tuple(row) for row in found]


def verified(secret: str, request: Request) -> Any:
    """The message, if the official library finds it good."""
    return Webhook(secret).verify(request.body, request.headers)


@asynccontextmanager
async def office_of(
    container: Container, sql: asyncpg.Connection, *, total: float = 1.0
) -> AsyncIterator[Office]:
    """With a sender that may call this machine, and is soon impatient."""
    sender = DeliveryClient(Targets(allow_private=True), total=total)
    made = Deliveries(container.database, sender, container.secret_cipher, timedelta(days=30))
    yield Office(container, sql, made)
    await made.aclose()
