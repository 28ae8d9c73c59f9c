"""GET /events?wait=: what wakes a waiting request, what ends it, and what it takes meanwhile."""

import asyncio
from typing import Any

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI
from httpx2 import Response

from service.container.api import Container
from service.event_feed import waiting
from service.platform.config import Settings
from service.platform.database.change_feed import ChangeFeed
from tests.helpers.application import running
from tests.helpers.client import V1, Api, assert_problem
from tests.helpers.events import POSITION, Follower, end_of_feed
from tests.helpers.factories import Make, Person
from tests.helpers.metadata import in_events
from tests.helpers.waiting import eventually

ERASED = "INSERT INTO events (type, object_id, data) VALUES ('user.erased', 7, '{\"id\": 7}')"
CHAI = {"name": "Chai", "price": "18.00"}


async def ask(api: Api, wait: int = 25, **options: Any) -> Response:
    after = await end_of_feed(api)
    return await api.get("/events", params={"after": after, "wait": wait, **options})


async def begin(container: Container, api: Api, **options: Any) -> "asyncio.Task[Response]":
    """A request that waits. It has read what there is, and holds no connection."""
    before = len(container.event_waits)
    task = asyncio.create_task(ask(api, **options))
    await eventually(lambda: len(container.event_waits) > before and container.database.pool_usage[0] == 0)
    return task


class TestWaking:
    async def test_the_next_event_is_the_answer(self, make: Make, container: Container) -> None:
        ada = await make.admin()
        waiting = await begin(container, ada.api)
        item = (await ada.api.post("/items", json=CHAI)).json()
        answer = await waiting
        assert [event["data"] for event in answer.json()] == [in_events(item)]
        assert await Follower(ada.api, after=answer.headers[POSITION]).poll() == []
        assert len(container.event_waits) == 0

    async def test_an_event_that_is_there_already_is_not_waited_for(self, make: Make) -> None:
        ada = await make.admin()
        item = (await ada.api.post("/items", json=CHAI)).json()
        assert [event["data"] for event in await Follower(ada.api).poll(wait=25)] == [in_events(item)]

    async def test_events_of_other_types_do_not_end_it(self, make: Make, container: Container) -> None:
        ada, maria, chai = await make.admin(), await make.user(), await make.item(stock=5)
        waiting = await begin(container, ada.api, types="order.*")
        await ada.api.post("/items", json=CHAI)
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})).json()
        assert [event["data"]["id"] for event in (await waiting).json()] == [order["id"]]

    async def test_one_that_is_committed_late(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        ada = await make.admin()
        async with sql.transaction():
            await sql.execute(
                "INSERT INTO events (type, object_id, data) VALUES ('user.erased', 7, '{\"id\": 7}')"
            )
            waiting = await begin(container, ada.api)
        assert [event["data"] for event in (await waiting).json()] == [{"id": 7}]

    async def test_everyone_who_waits(self, make: Make, container: Container) -> None:
        people = [await make.admin() for _ in range(5)]
        tasks = [await begin(container, person.api) for person in people]
        item = (await people[0].api.post("/items", json=CHAI)).json()
        answers = await asyncio.gather(*tasks)
        assert [[event["data"] for event in answer.json()] for answer in answers] == [[in_events(item)]] * 5

    async def test_while_the_change_feed_is_away(
        self, make: Make, container: Container, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ada = await make.admin()
        waiting = await begin(container, ada.api)
        monkeypatch.setattr(ChangeFeed, "has_lease", False)
        monkeypatch.setattr(container.event_waits, "on_change", lambda _: None)
        await sql.execute(
            "INSERT INTO events (type, object_id, data) VALUES ('user.erased', 7, '{\"id\": 7}')"
        )
        assert [event["data"] for event in (await waiting).json()] == [{"id": 7}]


class TestEnding:
    async def test_when_the_time_is_over_the_answer_is_empty(self, make: Make) -> None:
        ada = await make.admin()
        after = await end_of_feed(ada.api)
        answer = await ada.api.get("/events", params={"after": after, "wait": 1})
        assert (answer.status_code, answer.json(), answer.headers[POSITION]) == (200, [], after)

    async def test_when_the_process_stops(self, settings: Settings, make: Make) -> None:
        ada = await make.admin()
        async with running(settings) as stopping:
            container: Container = stopping.app.state.container
            api = stopping.signed_in(ada.token)
            waiting = await begin(container, api)
            container.event_waits.end_all()
            assert ((await waiting).status_code, (await waiting).json()) == (200, [])
            assert (await ask(api)).json() == []

    @pytest.mark.parametrize("ending", ["session", "role"])
    async def test_when_a_persons_access_ends(
        self, make: Make, container: Container, sql: asyncpg.Connection, ending: str
    ) -> None:
        ada, _ = await make.admin(), await make.admin()
        waiting = await begin(container, ada.api)
        if ending == "session":
            await sql.execute("UPDATE sessions SET ended_at = now() WHERE id = $1", ada.caller.session_id)
            assert_problem(await waiting, 401, "invalid_token")
        else:
            await sql.execute("UPDATE users SET is_admin = false WHERE id = $1", ada.id)
            assert_problem(await waiting, 403, "forbidden")

    async def test_when_a_key_is_revoked(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        machine = await make.key("events:read", "orders:read")
        waiting = await begin(container, machine.api)
        await sql.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", machine.id)
        assert_problem(await waiting, 401, "invalid_token")

    async def test_when_a_key_loses_the_scope_of_what_it_asked_for(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        machine = await make.key("events:read", "orders:read")
        waiting = await begin(container, machine.api, types="order.*")
        await sql.execute("UPDATE api_keys SET scopes = '{events:read}' WHERE id = $1", machine.id)
        assert_problem(await waiting, 403, "insufficient_scope")

    async def test_when_its_client_leaves(self, url: str, make: Make, container: Container) -> None:
        ada = await make.admin()
        headers = {"Authorization": f"Bearer {ada.token}"}
        async with httpx2.AsyncClient(base_url=f"{url}{V1}", headers=headers) as client:
            leaving = asyncio.create_task(client.get("/events?after=now&wait=25", timeout=60))
            await eventually(lambda: len(container.event_waits) == 1)
            leaving.cancel()
            await eventually(lambda: len(container.event_waits) == 0)


class TestLimits:
    async def test_of_one_caller(
        self, make: Make, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting, "MAX_PER_CALLER", 2)
        ada, other = await make.admin(), await make.admin()
        tasks = [await begin(container, ada.api) for _ in range(2)]
        refused = await ask(ada.api)
        assert_problem(refused, 429, "too_many_requests")
        assert refused.headers["retry-after"] == "1"
        assert (await ask(ada.api, wait=0)).status_code == 200
        tasks.append(await begin(container, other.api))
        await ada.api.post("/items", json=CHAI)
        assert [answer.status_code for answer in await asyncio.gather(*tasks)] == [200] * 3

    async def test_of_the_process(
        self, make: Make, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(container.event_waits, "_most", 1)
        ada, other = await make.admin(), await make.admin()
        task = await begin(container, ada.api)
        assert_problem(await ask(other.api), 503, "overloaded")
        await ada.api.post("/items", json=CHAI)
        assert (await task).status_code == 200

    async def test_it_takes_no_place_among_the_running_requests(
        self, app: FastAPI, make: Make, container: Container
    ) -> None:
        ada = await make.admin()
        load = app.state.refuse_at_once.load
        task = await begin(container, ada.api)
        assert load.running == 0
        await ada.api.post("/items", json=CHAI)
        await task
        assert load.running == 0

    @pytest.mark.parametrize("wait", ["26", "-1", "1.5", "long"])
    async def test_how_long(self, make: Make, wait: str) -> None:
        ada: Person = await make.admin()
        answer = await ada.api.get("/events", params={"wait": wait})
        assert_problem(answer, 422, "invalid_input", "?wait")
