"""A key that has ended is refused by every process, whatever happens at the same time."""

import asyncio
from typing import Any

import asyncpg
import pytest
from cachetools import FIFOCache

from service.container.api import Container
from service.identity import KeyCaller
from service.identity import service as identity
from service.identity.api_keys import repository as api_keys
from service.platform.config import Settings
from service.platform.crypto import fingerprint
from service.platform.database.change_feed import ChangeFeed
from tests.helpers.application import app_of
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make
from tests.helpers.waiting import eventually, until_blocked

TILL = {"name": "Till in Berlin", "scopes": ["orders:read"]}


async def test_who_loses_the_role_meanwhile_makes_no_key(make: Make, sql: asyncpg.Connection) -> None:
    ada = await make.admin()
    async with sql.transaction():
        await sql.execute("UPDATE users SET is_admin = false WHERE id = $1", ada.id)
        making = asyncio.create_task(ada.api.post("/api-keys", json=TILL))
        await until_blocked(sql)
    assert_problem(await making, 403, "forbidden")
    assert await sql.fetchval("SELECT count(*) FROM api_keys") == 0


async def test_a_key_that_is_just_being_made_goes_with_the_role(make: Make, sql: asyncpg.Connection) -> None:
    ada, grace = await make.admin(), await make.admin()
    async with sql.transaction():
        await sql.execute("SELECT 1 FROM users WHERE id = $1 FOR SHARE", grace.id)
        await sql.execute(
            "INSERT INTO api_keys (name, hash, hint, scopes, created_by) VALUES ('x', 'x', 'x', '{}', $1)",
            grace.id,
        )
        losing = asyncio.create_task(ada.api.patch(f"/admin/users/{grace.id}", json={"is_admin": False}))
        await until_blocked(sql)
    assert (await losing).status_code == 200
    assert await sql.fetchval("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL") == 0


async def authenticated(container: Container, key: str) -> KeyCaller:
    return await identity.authenticate_key(container.database, container.feed, container.api_keys, key)


async def test_a_result_from_before_a_change_is_not_cached(
    make: Make, container: Container, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await make.key("orders:read")
    read = api_keys.get_good

    async def get_good(*arguments: Any) -> Any:
        """The key is revoked, and every process notified, between the query and the use of its result."""
        row = await read(*arguments)
        forgotten = container.api_keys.generation
        await sql.execute("UPDATE api_keys SET revoked_at = now()")
        await eventually(lambda: container.api_keys.generation != forgotten)
        return row

    with monkeypatch.context() as patch:
        patch.setattr(api_keys, "get_good", get_good)
        assert (await authenticated(container, machine.key)).key_id == machine.id
    assert fingerprint(machine.key) not in container.api_keys._keys
    assert_problem(await machine.api.get("/orders"), 401, "invalid_token")


async def test_a_process_that_is_out_of_sync_queries_each_time(
    make: Make, container: Container, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await make.key("orders:read")
    assert (await machine.api.get("/orders")).status_code == 200
    monkeypatch.setattr(container.api_keys, "_clear", lambda: None)
    monkeypatch.setattr(ChangeFeed, "has_lease", property(lambda _: False))
    assert (await machine.api.get("/orders")).status_code == 200
    await sql.execute("UPDATE api_keys SET revoked_at = now()")
    assert fingerprint(machine.key) in container.api_keys._keys
    assert_problem(await machine.api.get("/orders"), 401, "invalid_token")
    container.api_keys._keys.clear()


async def test_a_key_that_is_remembered_is_asked_for_once(
    make: Make, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await make.key("orders:read")
    found = await authenticated(container, machine.key)

    async def ask(*_: object) -> None:
        pytest.fail("the database was asked")

    monkeypatch.setattr(identity, "look_up_key", ask)
    assert await authenticated(container, machine.key) is found


async def test_what_was_remembered_is_forgotten_when_the_feed_begins_again(
    make: Make, container: Container
) -> None:
    """What has changed while nobody listened was never told."""
    machine = await make.key("orders:read")
    await authenticated(container, machine.key)
    assert container.api_keys.listener.load == container.api_keys.load
    await container.api_keys.load()
    assert container.api_keys._keys == {}


async def test_no_more_are_remembered_than_fit(
    make: Make, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container.api_keys, "_keys", FIFOCache(2))
    await container.api_keys.load()
    maker = await make.admin()
    machines = [await make.key("orders:read", maker=maker) for _ in range(3)]
    for machine in machines:
        await authenticated(container, machine.key)
    assert list(container.api_keys._keys) == [fingerprint(machine.key) for machine in machines[1:]]


async def test_every_process_is_notified_of_it(make: Make, settings: Settings) -> None:
    """Two applications share nothing but the database: the second forgets what the first has revoked."""
    machine = await make.key("orders:read")
    app = app_of(settings)
    async with app.router.lifespan_context(app), Api.of(app, machine.key) as elsewhere:
        container: Container = app.state.container
        await eventually(lambda: container.feed.has_lease)
        assert (await elsewhere.get("/orders")).status_code == 200
        assert fingerprint(machine.key) in container.api_keys._keys
        await machine.maker.api.delete(f"/api-keys/{machine.id}")
        await eventually(lambda: fingerprint(machine.key) not in container.api_keys._keys)
        assert_problem(await elsewhere.get("/orders"), 401, "invalid_token")
