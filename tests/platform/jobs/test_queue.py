"""The queue: what is enqueued with a transaction, and what is enqueued periodically."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from service import events
from service.container.api import Container
from service.platform.jobs import queue
from service.platform.jobs.claims import Claims
from service.platform.jobs.listener import listen
from service.platform.telemetry import request_facts
from service.platform.telemetry.request_facts import RequestFacts

PERIODS = {"clean_up": timedelta(hours=1)}
LEASE = timedelta(minutes=1)


async def waiting(sql: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await sql.fetch("SELECT entrypoint, payload, priority FROM pgqueuer ORDER BY id")
    return [(row["entrypoint"], json.loads(row["payload"]), row["priority"]) for row in rows]


class TestEnqueuing:
    async def test_is_part_of_the_transaction_even_as_its_first_statement(
        self, container: Container, sql: asyncpg.Connection
    ) -> None:

        async def fails() -> None:
            async with container.database.transaction() as session:
                await queue.enqueue(session, "mail", {"mail_id": 1})
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await fails()
        assert await waiting(sql) == []
        async with container.database.transaction() as session:
            await queue.enqueue(session, "mail", {"mail_id": 2}, priority=3)
            assert await waiting(sql) == []
        assert await waiting(sql) == [("mail", {"mail_id": 2}, 3)]

    async def test_a_key_is_there_once_until_its_job_has_ended(
        self, container: Container, sql: asyncpg.Connection
    ) -> None:
        found = []
        for _ in range(2):
            async with container.database.transaction() as session:
                found.append(await queue.enqueue(session, "mail", {}, key="mail-1"))
        assert found[1] is None
        claims = Claims(container.database, LEASE)
        [job] = await claims.claim({"mail": 5}, 5)
        assert job.id == found[0]
        async with container.database.transaction() as session:
            assert await queue.enqueue(session, "mail", {}, key="mail-1") is None
        claims.finish(job)
        await claims.record_finished()
        async with container.database.transaction() as session:
            assert await queue.enqueue(session, "mail", {}, key="mail-1") is not None

    async def test_an_events_job_is_as_any_other(self, container: Container, sql: asyncpg.Connection) -> None:
        """It is written by another statement: every column has what `enqueue` writes there."""

        async def asks() -> None:
            request_facts.begin(RequestFacts("asked-for-1", "own-1"))
            async with container.database.transaction() as session:
                event_id = await events.publish(session, "item.updated", object_id=1, data={})
                await queue.enqueue(session, "event", {"event_id": event_id})

        await asyncio.create_task(asks())
        for table in ("pgqueuer", "pgqueuer_log"):
            rows = [dict(row) for row in await sql.fetch(f"SELECT * FROM {table} ORDER BY id")]
            for row in rows:
                row.pop("id"), row.pop("job_id", None)
                row["payload"] = json.loads(row.get("payload") or "{}")
            assert len(rows) == 2
            assert rows[0] == rows[1], table

    async def test_notifies_a_listener(self, container: Container, sql: asyncpg.Connection) -> None:
        notified = asyncio.Event()
        url = container.settings.database_url
        assert url is not None
        listening = asyncio.create_task(listen(url.get_secret_value(), notified.set))
        await asyncio.wait_for(notified.wait(), 60)
        notified.clear()
        async with container.database.transaction() as session:
            await events.publish(session, "item.updated", object_id=1, data={})
        await asyncio.wait_for(notified.wait(), 60)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


class TestSchedule:
    async def enqueue_due(self, container: Container) -> list[str]:
        async with container.database.transaction() as session:
            return await queue.enqueue_due(session, PERIODS)

    async def test_enqueues_once_in_a_period_however_many_ask(
        self, container: Container, sql: asyncpg.Connection
    ) -> None:
        rounds = await asyncio.gather(*(self.enqueue_due(container) for _ in range(5)))
        assert sorted(rounds) == [[], [], [], [], ["clean_up"]]
        assert await waiting(sql) == [("clean_up", {}, 0)]

    async def test_enqueues_again_when_it_has_passed(
        self, container: Container, sql: asyncpg.Connection
    ) -> None:
        await self.enqueue_due(container)
        await sql.execute("DELETE FROM pgqueuer")
        assert await self.enqueue_due(container) == []
        left = await sql.fetchval("SELECT next_run - now() FROM pgqueuer_schedules")
        assert timedelta(minutes=59) < left <= timedelta(hours=1)
        await sql.execute("UPDATE pgqueuer_schedules SET next_run = now()")
        assert await self.enqueue_due(container) == ["clean_up"]
        assert await waiting(sql) == [("clean_up", {}, 0)]

    async def test_not_while_the_last_one_still_runs(
        self, container: Container, sql: asyncpg.Connection
    ) -> None:
        await self.enqueue_due(container)
        await sql.execute("UPDATE pgqueuer_schedules SET next_run = now()")
        await self.enqueue_due(container)
        assert await waiting(sql) == [("clean_up", {}, 0)]


class TestForgetting:
    async def test_what_is_old(self, container: Container, sql: asyncpg.Connection) -> None:
        async with container.database.transaction() as session:
            for number in range(3):
                await queue.enqueue(session, "test", {"number": number})
        claims = Claims(container.database, LEASE)
        taken = await claims.claim({"test": 5}, 2)
        for job in taken:
            await claims.fail(job)
        await sql.execute(
            "UPDATE pgqueuer SET updated = now() - interval '2 days' WHERE id = $1", taken[0].id
        )
        await sql.execute(
            "UPDATE pgqueuer_log SET created = now() - interval '2 days' WHERE status = 'queued'"
        )
        async with container.database.transaction() as session:
            assert await queue.purge(session, timedelta(days=1), most=10) == 3
            assert await queue.purge(session, timedelta(days=1), most=10) == 0
        rows = await sql.fetch("SELECT payload, status::text FROM pgqueuer ORDER BY id")
        assert [(json.loads(row["payload"])["number"], row["status"]) for row in rows] == [
            (1, "failed"),
            (2, "queued"),
        ]
        assert await sql.fetchval("SELECT count(*) FROM pgqueuer_log") == 4

    async def test_the_state_by_kind(self, container: Container, sql: asyncpg.Connection) -> None:
        async with container.database.transaction() as session:
            for _ in range(2):
                await queue.enqueue(session, "one", {})
            await queue.enqueue(session, "two", {}, delay=timedelta(hours=1))
        await sql.execute(
            "UPDATE pgqueuer SET execute_after = now() - interval '1 minute' WHERE entrypoint = 'one'"
        )
        async with container.database.reading() as session:
            state = {row.kind: row for row in await queue.get_state(session)}
        assert (state["one"].waiting, state["one"].failed) == (2, 0)
        assert 60 <= state["one"].oldest_seconds < 120
        assert (state["two"].waiting, state["two"].oldest_seconds) == (1, 0.0)
