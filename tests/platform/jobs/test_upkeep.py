"""What the clock sets off: unpaid orders, and what is not kept any longer."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from service import upkeep
from service.container.api import Container
from service.events import repository as events
from service.job_kinds import KINDS, PERIODS
from service.platform.config import Settings
from service.worker_container import Attempt, WorkerParts
from tests.helpers.factories import Make

ATTEMPT = Attempt(1, 3, 1)


@pytest.fixture
async def working(settings: Settings) -> AsyncIterator[WorkerParts]:
    container = WorkerParts.of(settings.model_copy(update={"payment_window": timedelta(hours=24)}))
    yield container
    await container.stop()


async def age(sql: asyncpg.Connection, table: str, column: str, by: str) -> None:
    """As if it had all happened so much earlier; triggers would refuse it."""
    async with sql.transaction():
        await sql.execute("SET LOCAL session_replication_role = replica")
        await sql.execute(f"UPDATE {table} SET {column} = {column} - interval '{by}'")


def test_everything_that_comes_round_is_a_kind() -> None:
    assert PERIODS.keys() <= KINDS.keys()


class TestUnpaidOrders:
    async def statuses(self, sql: asyncpg.Connection) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await sql.fetch("SELECT status, cancel_reason FROM orders ORDER BY id")]

    async def test_are_cancelled_when_their_time_is_over(
        self, make: Make, working: WorkerParts, sql: asyncpg.Connection
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})
        await age(sql, "orders", "placed_at", "25 hours")
        await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
        with capture_logs() as lines:
            await upkeep.cancel_unpaid(working, {}, ATTEMPT)
            await upkeep.cancel_unpaid(working, {}, ATTEMPT)
        assert await self.statuses(sql) == [("cancelled", upkeep.UNPAID), ("placed", None)]
        assert await sql.fetchval("SELECT quantity FROM stock") == 4
        assert [line for line in lines if line["event"] == "orders.expired"] == [
            {"event": "orders.expired", "log_level": "info", "count": 1}
        ]
        types = await sql.fetch("SELECT type FROM events ORDER BY id")
        assert [row["type"] for row in types] == ["order.placed", "order.placed", "order.cancelled"]
        kinds = await sql.fetch("SELECT kind FROM notifications WHERE user_id = $1 ORDER BY id", maria.id)
        assert [row["kind"] for row in kinds] == ["order.placed", "order.placed", "order.cancelled"]
        noted = await sql.fetchrow("SELECT actor_id, key_id FROM audit_log WHERE action = 'order.cancelled'")
        assert noted is not None
        assert tuple(noted) == (None, None)

    async def test_what_was_paid_in_time_is_left_alone(
        self, make: Make, working: WorkerParts, sql: asyncpg.Connection
    ) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=5)
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})).json()
        await admin.api.post(f"/orders/{order['id']}/pay", json={"reference": "P-1"})
        await age(sql, "orders", "placed_at", "25 hours")
        await upkeep.cancel_unpaid(working, {}, ATTEMPT)
        assert await self.statuses(sql) == [("paid", None)]

    async def test_more_than_are_looked_for_at_once(
        self,
        make: Make,
        working: WorkerParts,
        sql: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(upkeep, "ORDERS", 2)
        maria, chai = await make.user(), await make.item(stock=5)
        for _ in range(5):
            await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
        await age(sql, "orders", "placed_at", "25 hours")
        await upkeep.cancel_unpaid(working, {}, ATTEMPT)
        assert await self.statuses(sql) == [("cancelled", upkeep.UNPAID)] * 5
        assert await sql.fetchval("SELECT quantity FROM stock") == 5


class TestCleaningUp:
    async def test_old_events(
        self, container: Container, working: WorkerParts, sql: asyncpg.Connection
    ) -> None:
        async with container.database.transaction() as session:
            await events.add(session, "item.updated", object_id=1, data={})
        await age(sql, "events", "occurred_at", "31 days")
        async with container.database.transaction() as session:
            await events.add(session, "item.updated", object_id=2, data={})
        await upkeep.clean_up(working, {}, ATTEMPT)
        assert [row["object_id"] for row in await sql.fetch("SELECT object_id FROM events")] == [2]

    async def test_in_batches_until_nothing_is_left(
        self,
        container: Container,
        working: WorkerParts,
        sql: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(upkeep, "BATCH", 2)
        new = [events.NewEvent(number, {}) for number in range(1, 6)]
        async with container.database.transaction() as session:
            await events.add_each(session, "item.updated", new)
        await age(sql, "events", "occurred_at", "31 days")
        await upkeep.clean_up(working, {}, ATTEMPT)
        assert await sql.fetchval("SELECT count(*) FROM events") == 0

    async def test_tokens_of_mails(self, make: Make, working: WorkerParts, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        for name, expired in (("old", "25 hours"), ("fresh", "23 hours")):
            await sql.execute(
                f"INSERT INTO mail_tokens (hash, user_id, purpose, email, account_state, expires_at)"
                f" VALUES ($1, $2, 'verify_email', 'm@shop.example', '', now() - interval '{expired}')",
                name.encode(),
                maria.id,
            )
        await upkeep.clean_up(working, {}, ATTEMPT)
        assert [row["hash"] for row in await sql.fetch("SELECT hash FROM mail_tokens")] == [b"fresh"]

    async def test_sessions_that_are_over(
        self, make: Make, working: WorkerParts, sql: asyncpg.Connection
    ) -> None:
        await make.user()
        await sql.execute("UPDATE sessions SET ended_at = now() - interval '25 hours'")
        ana = await make.user()
        await upkeep.clean_up(working, {}, ATTEMPT)
        assert [row["user_id"] for row in await sql.fetch("SELECT user_id FROM sessions")] == [ana.id]

    async def test_months_of_the_audit_log(self, working: WorkerParts, sql: asyncpg.Connection) -> None:
        await upkeep.clean_up(working, {}, ATTEMPT)
        partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit_addresses'::regclass"
        assert await sql.fetchval(partitions) == 3

    async def test_a_step_that_fails_keeps_no_other_from_its_work(
        self,
        container: Container,
        working: WorkerParts,
        sql: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async def broken(_: WorkerParts) -> None:
            raise KeyError("x")

        monkeypatch.setattr(upkeep, "STEPS", (broken, *upkeep.STEPS))
        async with container.database.transaction() as session:
            await events.add(session, "item.updated", object_id=1, data={})
        await age(sql, "events", "occurred_at", "31 days")
        with capture_logs() as lines, pytest.raises(KeyError):
            await upkeep.clean_up(working, {}, ATTEMPT)
        assert await sql.fetchval("SELECT count(*) FROM events") == 0
        told = [line for line in lines if line["event"] == "upkeep.step_failed"]
        assert [(line["step"], line["fault"]) for line in told] == [("broken", "KeyError")]
