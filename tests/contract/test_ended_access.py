"""What lasts is not done with an access that has ended, not even while this process has not heard of it.

Between the moment in which a caller's access ends and the one in which every process knows, and while a
request waits for DNS, for a lock or for the hashing of a password, its token is believed. A route that writes
asks in the transaction itself, where the answer cannot change any more.
"""

import asyncio
import threading
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, Final

import asyncpg
import pytest
from fastapi import FastAPI

from service.container.api import Container
from service.identity import Passwords
from service.platform.database.change_feed import ChangeFeed
from service.webhooks.address_ranges import Address
from service.webhooks.targets import Targets
from tests.contract.ended import WRITES, attempt, contents, kinds_of
from tests.contract.routes import ERP, NEW_PASSWORD, Route
from tests.helpers.client import V1, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.waiting import until_blocked

#: Each way to lose access, for whom, and what is answered from then on.
PERSONS: Final = frozenset({"owner", "administrator"})
ENDINGS: Final[tuple[tuple[str, AbstractSet[str], int, str], ...]] = (
    ("UPDATE sessions SET ended_at = now() WHERE user_id = $1", PERSONS, 401, "invalid_token"),
    ("UPDATE users SET is_active = false WHERE id = $1", PERSONS, 401, "invalid_token"),
    ("UPDATE users SET is_admin = false WHERE id = $1", {"administrator"}, 403, "forbidden"),
    ("UPDATE api_keys SET revoked_at = now() WHERE id = $1", {"key"}, 401, "invalid_token"),
    ("UPDATE api_keys SET expires_at = now() WHERE id = $1", {"key"}, 401, "invalid_token"),
    ("UPDATE api_keys SET scopes = '{}' WHERE id = $1", {"key"}, 403, "forbidden"),
)
#: The writes that do not ask, and why.
BELIEVED: Final[dict[str, AbstractSet[str]]] = {
    # Public: nothing of the caller's goes into it.
    f"POST {V1}/auth/password-reset": PERSONS,
    f"POST {V1}/auth/password-reset/confirm": PERSONS,
    # What customers do all day to what is theirs: it gives no access, and stays visible to them.
    f"POST {V1}/orders": {"owner"},
    f"POST {V1}/orders/{{order_id}}/cancel": {"owner"},
    f"PUT {V1}/orders/{{order_id}}/ship-to": {"owner"},
    # Whether something was read.
    f"POST {V1}/notifications/read": PERSONS,
    f"POST {V1}/notifications/{{notification_id}}/read": PERSONS,
}
#: What administrators do as any user does, with their own accounts: without the role too.
OWN: Final = {
    f"DELETE {V1}/auth/sessions",
    f"DELETE {V1}/auth/sessions/{{session_id}}",
    f"POST {V1}/auth/verify-email",
    f"POST {V1}/auth/verify-email/confirm",
    f"PATCH {V1}/users/profile",
    f"POST {V1}/users/profile/password",
    f"DELETE {V1}/users/profile",
    f"POST {V1}/notifications/stream-ticket",
}


@pytest.fixture
def not_in_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process believes what it holds, for as long as the test takes."""
    monkeypatch.setattr(ChangeFeed, "has_lease", property(lambda _: True))


async def silently(sql: asyncpg.Connection, statement: str, row: int) -> None:
    """Committed, and told to nobody."""
    async with sql.transaction():
        await sql.execute("SET LOCAL session_replication_role = replica")
        await sql.execute(statement, row)


def test_what_is_listed_is_there() -> None:
    assert set(BELIEVED) | OWN <= {str(replace(route, note="")) for route in WRITES}


@pytest.mark.usefixtures("not_in_sync")
@pytest.mark.parametrize("route", WRITES, ids=str)
async def test_who_has_lost_access_writes_nothing(
    make: Make, sql: asyncpg.Connection, tables: list[str], route: Route
) -> None:
    name = str(replace(route, note=""))
    for kind in kinds_of(route):
        for statement, kinds, status, code in ENDINGS:
            if kind not in kinds - BELIEVED.get(name, set()):
                continue
            tried = await attempt(make, route, kind)
            await tried.client.get("/items")  # A key is remembered by what it has done.
            await silently(sql, statement, tried.caller.id)
            before = await contents(sql, tables)
            answer = await tried.client.request(**tried.request)
            if "is_admin" in statement and name in OWN:
                assert answer.status_code < 300, answer.text
                continue
            assert_problem(answer, status, code)
            assert await contents(sql, tables) == before


@pytest.mark.usefixtures("not_in_sync")
async def test_access_that_is_just_ending_is_waited_for(
    make: Make, sql: asyncpg.Connection, tables: list[str]
) -> None:
    """The race made certain: the transaction that ends access has not committed when the write begins."""
    ada = await make.admin()
    async with sql.transaction():
        await sql.execute("SET LOCAL session_replication_role = replica")
        await sql.execute("UPDATE sessions SET ended_at = now() WHERE user_id = $1", ada.id)
        before = await contents(sql, tables)
        making = asyncio.create_task(ada.api.post("/items", json={"name": "Chai", "price": "18.00"}))
        await until_blocked(sql)
    assert_problem(await making, 401, "invalid_token")
    assert await contents(sql, tables) == before


@pytest.mark.usefixtures("not_in_sync")
async def test_access_does_not_end_before_what_was_done_with_it_is_kept(
    make: Make, sql: asyncpg.Connection
) -> None:
    """Two writes by one caller share the lock; who ends the access comes after both."""
    ada, grace, chai, chang = await make.admin(), await make.admin(), await make.item(), await make.item()
    async with sql.transaction():
        await sql.execute("SELECT FROM items WHERE id IN ($1, $2) FOR UPDATE", chai.id, chang.id)
        writing = [
            asyncio.create_task(ada.api.patch(f"/items/{item.id}", json={"price": "19.00"}))
            for item in (chai, chang)
        ]
        await until_blocked(sql, 2)
        ending = asyncio.create_task(grace.api.patch(f"/admin/users/{ada.id}", json={"is_active": False}))
        await until_blocked(sql, 3)
    assert [answer.status_code for answer in await asyncio.gather(*writing, ending)] == [200, 200, 200]
    ended = await sql.fetchval("SELECT max(id) FROM audit_log WHERE action = 'user.deactivated'")
    assert ended == await sql.fetchval("SELECT max(id) FROM audit_log")


async def test_a_webhook_whose_host_is_looked_up_slowly_is_not_made_by_who_was_demoted_meanwhile(
    make: Make, sql: asyncpg.Connection, app: FastAPI, container: Container, not_in_sync: None
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def resolve(_: str) -> list[Address]:
        asked.set()
        await answer.wait()
        return [IPv4Address("93.184.216.34")]

    app.state.container = replace(container, targets=Targets(resolve))
    try:
        ada = await make.admin()
        body = {**ERP, "url": "https://erp.shop.example/hooks"}
        making = asyncio.create_task(ada.api.post("/webhooks", json=body))
        await asked.wait()
        await silently(sql, "UPDATE users SET is_admin = false WHERE id = $1", ada.id)
        answer.set()
        assert_problem(await making, 403, "forbidden")
        assert await sql.fetchval("SELECT count(*) FROM webhooks") == 0
    finally:
        app.state.container.targets.close()
        app.state.container = container


@pytest.fixture
def long_queue(container: Container) -> Iterator[threading.Event]:
    """Passwords are not hashed before this is set."""
    go_on = threading.Event()
    for _ in range(Passwords.AT_ONCE):
        container.passwords._pool.submit(go_on.wait)
    yield go_on
    go_on.set()


async def until_hashing(container: Container) -> None:
    async with asyncio.timeout(60):
        while not container.passwords._waiting:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


@pytest.mark.usefixtures("not_in_sync")
class TestWaitingForAPasswordToBeHashed:
    async def ended_meanwhile(
        self,
        sql: asyncpg.Connection,
        container: Container,
        queue: threading.Event,
        maria: Person,
        **request: Any,
    ) -> None:
        stored = "SELECT users::text FROM users ORDER BY id"
        asking = asyncio.create_task(maria.api.request(**request))
        await until_hashing(container)
        await silently(sql, "UPDATE sessions SET ended_at = now() WHERE user_id = $1", maria.id)
        before = await sql.fetch(stored)
        queue.set()
        assert_problem(await asking, 401, "invalid_token")
        assert await sql.fetch(stored) == before

    async def test_a_stolen_token_changes_no_password_after_its_session_has_ended(
        self, make: Make, sql: asyncpg.Connection, container: Container, long_queue: threading.Event
    ) -> None:
        maria = await make.user()
        change = {"method": "POST", "url": "/users/profile/password", "json": NEW_PASSWORD}
        await self.ended_meanwhile(sql, container, long_queue, maria, **change)

    async def test_nor_an_address(
        self, make: Make, sql: asyncpg.Connection, container: Container, long_queue: threading.Event
    ) -> None:
        maria = await make.user()
        body = {"email": "thief@shop.example", "current_password": NEW_PASSWORD["current_password"]}
        change = {"method": "PATCH", "url": "/users/profile", "json": body}
        await self.ended_meanwhile(sql, container, long_queue, maria, **change)
        assert await sql.fetchval("SELECT count(*) FROM mails") == 0

    async def test_nor_erases_the_account(
        self, make: Make, sql: asyncpg.Connection, container: Container, long_queue: threading.Event
    ) -> None:
        maria = await make.user()
        body = {"current_password": NEW_PASSWORD["current_password"]}
        erasing = {"method": "DELETE", "url": "/users/profile", "json": body}
        await self.ended_meanwhile(sql, container, long_queue, maria, **erasing)

    async def test_nor_registers_an_account_as_an_administrator(
        self, make: Make, sql: asyncpg.Connection, container: Container, long_queue: threading.Event
    ) -> None:
        ada = await make.admin()
        body = {
            "email": "new@shop.example", "password": "Northwind1", "full_name": "New", "is_active": False,
        }  # fmt: skip
        await self.ended_meanwhile(sql, container, long_queue, ada, method="POST", url="/users", json=body)
