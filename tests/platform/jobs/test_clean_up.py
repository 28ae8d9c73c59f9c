"""What is not kept any longer: the steps of every domain, as the worker runs them."""

from datetime import timedelta

import asyncpg
import pytest
from structlog.testing import capture_logs

from service.container.api import Container
from service.container.worker import clean_up_steps
from service.events import repository as events
from service.platform.database import Database
from service.platform.jobs.clean_up import clean_up, in_batches
from tests.helpers.factories import Make


async def clean(container: Container) -> None:
    await clean_up(container.database, clean_up_steps(container.settings))


async def age(sql: asyncpg.Connection, table: str, column: str, by: str) -> None:
    """As if it had all happened so much earlier; triggers would refuse it."""
    async with sql.transaction():
        await sql.execute("SET LOCAL session_replication_role = replica")
        await sql.execute(f"UPDATE {table} SET {column} = {column} - interval '{by}'")


class TestCleanUp:
    async def test_old_events(self, container: Container, sql: asyncpg.Connection) -> None:
        async with container.database.transaction() as session:
            await events.publish(session, "item.updated", object_id=1, data={})
        await age(sql, "events", "occurred_at", "31 days")
        async with container.database.transaction() as session:
            await events.publish(session, "item.updated", object_id=2, data={})
        await clean(container)
        assert [row["object_id"] for row in await sql.fetch("SELECT object_id FROM events")] == [2]

    async def test_in_batches_until_nothing_is_left(
        self,
        container: Container,
        sql: asyncpg.Connection,
    ) -> None:
        new = [{"id": number} for number in range(1, 6)]
        async with container.database.transaction() as session:
            await events.publish_each(session, "item.updated", new)
        await age(sql, "events", "occurred_at", "31 days")
        await in_batches(events.purge, timedelta(days=30), batch=2)(container.database)
        assert await sql.fetchval("SELECT count(*) FROM events") == 0

    async def test_tokens_of_mails(self, make: Make, container: Container, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        for name, expired in (("old", "25 hours"), ("fresh", "23 hours")):
            await sql.execute(
                f"INSERT INTO mail_tokens (hash, user_id, purpose, email, account_state, expires_at)"
                f" VALUES ($1, $2, 'verify_email', 'm@shop.example', '', now() - interval '{expired}')",
                name.encode(),
                maria.id,
            )
        await clean(container)
        assert [row["hash"] for row in await sql.fetch("SELECT hash FROM mail_tokens")] == [b"fresh"]

    async def test_sessions_that_are_over(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        await make.user()
        await sql.execute("UPDATE sessions SET ended_at = now() - interval '25 hours'")
        ana = await make.user()
        await clean(container)
        assert [row["user_id"] for row in await sql.fetch("SELECT user_id FROM sessions")] == [ana.id]

    async def test_months_of_the_audit_log(self, container: Container, sql: asyncpg.Connection) -> None:
        await clean(container)
        partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit_addresses'::regclass"
        assert await sql.fetchval(partitions) == 3

    async def test_a_step_that_fails_keeps_no_other_from_its_work(
        self, container: Container, sql: asyncpg.Connection
    ) -> None:
        async def broken(_: Database) -> None:
            raise KeyError("x")

        async with container.database.transaction() as session:
            await events.publish(session, "item.updated", object_id=1, data={})
        await age(sql, "events", "occurred_at", "31 days")
        steps = {"broken": broken, **clean_up_steps(container.settings)}
        with capture_logs() as lines, pytest.raises(KeyError):
            await clean_up(container.database, steps)
        assert await sql.fetchval("SELECT count(*) FROM events") == 0
        failed = [line for line in lines if line["event"] == "upkeep.step_failed"]
        assert [(line["step"], line["fault"]) for line in failed] == [("broken", "KeyError")]
