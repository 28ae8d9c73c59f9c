"""One key and many at once; transactions that lose, and are run again."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from service.container.api import Container
from service.platform.config import Settings
from service.platform.http.idempotency import repository
from tests.helpers.application import app_of
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person

CLIENTS = 50
ROUTE = "/api/v1/orders"


async def insistent(person: Person, body: dict[str, Any]) -> tuple[httpx2.Response, Counter[int]]:
    """A client that sends the same request under its key until it is answered."""
    seen: Counter[int] = Counter()
    while True:
        answer = await person.api.post("/orders", json=body, headers={"Idempotency-Key": "the-one-order"})
        seen[answer.status_code] += 1
        if answer.status_code != 409:
            return answer, seen
        assert_problem(answer, 409, "idempotency_key_in_use")
        await asyncio.sleep(float(answer.headers["Retry-After"]))


@asynccontextmanager
async def slow_orders(sql: asyncpg.Connection) -> AsyncIterator[None]:
    """Each order takes a moment, so that the others come while it is running."""
    await sql.execute(
        "CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;"
        " CREATE TRIGGER take_time AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION take_time()"
    )
    try:
        yield
    finally:
        await sql.execute("DROP TRIGGER take_time ON orders; DROP FUNCTION take_time")


async def test_a_retry_that_looks_before_the_first_is_committed_gets_its_response(
    make: Make, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sees no response yet, and gets the lock once the first has ended: it is run, and refused for what
    the first has done.
    """
    maria, ada, chai = await make.user(), await make.admin(), await make.item(stock=1)
    held = "SELECT pg_try_advisory_xact_lock(:lock) AS got"
    late = f"{held} FROM (SELECT pg_sleep(0.3) OFFSET 0) AS waited"
    take = repository._TAKE
    monkeypatch.setattr(
        repository, "_TAKE", text(take.text.replace(held, late)).bindparams(*take._bindparams.values())
    )
    body = {"product_id": chai.id, "quantity": 1}

    async def both(person: Person, path: str, body: dict[str, Any]) -> list[tuple[int, Any, bytes]]:
        async def send(delay: float) -> httpx2.Response:
            await asyncio.sleep(delay)
            return await person.api.post(path, json=body, headers={"Idempotency-Key": "the-only-key"})

        answers = await asyncio.gather(send(0), send(0.2))
        return [(each.status_code, each.headers.get("Idempotent-Replayed"), each.content) for each in answers]

    first, retry = await both(maria, "/orders", body)
    assert (first[:2], retry[:2]) == ((201, None), (201, "true"))
    assert retry[2] == first[2]
    assert await sql.fetchval("SELECT count(*) FROM orders") == 1
    order = json.loads(first[2])["id"]
    first, retry = await both(ada, f"/orders/{order}/pay", {"reference": "bank-1"})
    assert (first[:2], retry[:2]) == ((200, None), (200, "true"))
    assert retry[2] == first[2]


async def test_fifty_send_the_same_order_at_once(
    make: Make, sql: asyncpg.Connection, settings: Settings, database_url: str
) -> None:
    """None waits for another in the database: the second is sent away at once, and holds nothing."""
    maria, chai = await make.user(), await make.item(stock=50)
    small = settings.model_copy(update={"database_pool_size": 4, "database_max_overflow": 0})
    application = app_of(small)
    watcher = await asyncpg.connect(database_url)
    active = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'tradepost' AND state <> 'idle'"
    )
    most, done = 0, asyncio.Event()

    async def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, await watcher.fetchval(f"{active} AND wait_event_type = 'Lock'"))
            await asyncio.sleep(0.005)

    async with application.router.lifespan_context(application), Api.of(application, maria.token) as client:
        maria.api = client
        async with slow_orders(sql), asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            body = {"product_id": chai.id, "quantity": 1}
            outcomes = await asyncio.gather(*(insistent(maria, body) for _ in range(CLIENTS)))
            done.set()
            await watching
    await watcher.close()
    assert {answer.status_code for answer, _ in outcomes} == {201}
    assert len({(answer.content, answer.headers["location"]) for answer, _ in outcomes}) == 1
    assert Counter("idempotent-replayed" in answer.headers for answer, _ in outcomes) == {
        False: 1,
        True: CLIENTS - 1,
    }
    assert sum((seen for _, seen in outcomes), Counter())[409] > 0
    assert most == 0, "a request waited in the database for another with its key"
    assert await sql.fetchval("SELECT count(*) FROM orders") == 1
    assert await sql.fetchval("SELECT quantity FROM stock") == 49


class TestContention:
    @pytest.fixture
    async def failing(self, sql: asyncpg.Connection) -> AsyncIterator[None]:
        """The first of an order's inserts fail, as many as its reference says."""
        await sql.execute(
            "CREATE SEQUENCE tries;"
            " CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF nextval('tries') <= NEW.reference::int THEN"
            " RAISE EXCEPTION 'another time' USING ERRCODE = 'serialization_failure'; END IF;"
            " RETURN NEW; END $$;"
            " CREATE TRIGGER conflict BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION conflict()"
        )
        yield
        await sql.execute("DROP TRIGGER conflict ON orders; DROP FUNCTION conflict; DROP SEQUENCE tries")

    @staticmethod
    def retried() -> float:
        return REGISTRY.get_sample_value("database_transactions_retried_total", {"route": ROUTE}) or 0.0

    @pytest.mark.usefixtures("failing")
    @pytest.mark.parametrize("failures", [0, 1, 3])
    async def test_up_to_three_failures_are_nobodys_business(
        self, make: Make, sql: asyncpg.Connection, failures: int
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        before = self.retried()
        body = {"product_id": chai.id, "quantity": 1, "reference": str(failures)}
        answer = await maria.api.post("/orders", json=body, headers={"Idempotency-Key": "once"})
        assert answer.status_code == 201
        assert answer.headers["ratelimit-policy"].count("default") == 1
        assert self.retried() == before + failures
        assert await sql.fetchval("SELECT count(*) FROM orders") == 1
        assert await sql.fetchval("SELECT quantity FROM stock") == 4
        assert await sql.fetchval("SELECT count(*) FROM idempotency_keys WHERE status = 201") == 1

    @pytest.mark.usefixtures("failing")
    async def test_a_fourth_is_refused_and_leaves_nothing(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        body = {"product_id": chai.id, "quantity": 1, "reference": "4"}
        answer = await maria.api.post("/orders", json=body, headers={"Idempotency-Key": "once"})
        assert_problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert await sql.fetchval("SELECT count(*) FROM orders") == 0
        assert await sql.fetchval("SELECT quantity FROM stock") == 5
        assert await sql.fetchval("SELECT count(*) FROM idempotency_keys") == 0
        again = await maria.api.post("/orders", json=body, headers={"Idempotency-Key": "once"})
        assert again.status_code == 201

    async def test_a_real_deadlock_is_run_again(
        self, make: Make, container: Container, sql: asyncpg.Connection, database_url: str
    ) -> None:
        """A transaction locks the two items in the other order; PostgreSQL ends the order's transaction."""
        maria = await make.user()
        first, second = await make.item(stock=5), await make.item(stock=5)
        lock = "SELECT FROM items WHERE id = $1 FOR UPDATE"
        rival, before = await asyncpg.connect(database_url), self.retried()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'tradepost' AND wait_event_type = 'Lock'"
        )
        transaction = rival.transaction()
        await transaction.start()
        # The rival looks for deadlocks only long after the order has found this one.
        await rival.execute("SET LOCAL deadlock_timeout = '60s'")
        await rival.execute(lock, second.id)
        body = {"lines": [{"product_id": each.id, "quantity": 1} for each in (first, second)]}
        ordering = asyncio.create_task(maria.api.post("/orders", json=body))
        while not await sql.fetchval(waiting):
            await sql.execute("SELECT pg_sleep(0.01)")
        await rival.execute(lock, first.id)
        await transaction.commit()
        await rival.close()
        assert (await ordering).status_code == 201
        assert self.retried() == before + 1
        assert await sql.fetchval("SELECT count(*) FROM orders") == 1
        assert [row["quantity"] for row in await sql.fetch("SELECT quantity FROM stock")] == [4, 4]
