"""An account that is deleted while something else happens to it. The races are made certain by locks."""

import asyncio

import asyncpg
import pytest

from tests.helpers.client import assert_problem
from tests.helpers.factories import PASSWORD, Make, Person
from tests.helpers.waiting import until_blocked

HOME = {"street": "Rumpelgasse 17", "city": "Zwiesel", "country": "DE"}
#: What a deletion locks and changes, as far as the race is concerned.
ERASED = (
    "UPDATE users SET email = 'erased-' || id || '@erased.invalid', full_name = 'Erased customer',"
    " password_hash = '!', is_active = false, is_admin = false, erased_at = now() WHERE id = $1"
)


async def erase(person: Person) -> int:
    answer = await person.api.request("DELETE", "/users/profile", json={"current_password": PASSWORD})
    return answer.status_code


async def test_of_two_deletions_one_is_made(make: Make, sql: asyncpg.Connection) -> None:
    person = await make.user()
    statuses = await asyncio.gather(*(erase(person) for _ in range(3)))
    assert statuses.count(204) == 1
    # The later one finds no account, or an account without a password.
    assert set(statuses) <= {204, 401, 422}
    assert await sql.fetchval("SELECT count(*) FROM audit_log WHERE action = 'user.erased'") == 1


async def test_the_second_waits_for_the_first_and_finds_no_account(
    make: Make, sql: asyncpg.Connection
) -> None:
    person = await make.user()
    async with sql.transaction():
        await sql.execute("SELECT 1 FROM users WHERE id = $1 FOR UPDATE", person.id)
        second = asyncio.create_task(erase(person))
        await until_blocked(sql)
        await sql.execute(ERASED, person.id)
    assert await second == 401


async def test_a_password_changed_meanwhile_is_the_one_that_counts(
    make: Make, sql: asyncpg.Connection
) -> None:
    person = await make.user()
    async with sql.transaction():
        await sql.execute("UPDATE users SET password_hash = 'another' WHERE id = $1", person.id)
        deletion = {"current_password": PASSWORD}
        erasing = asyncio.create_task(person.api.request("DELETE", "/users/profile", json=deletion))
        await until_blocked(sql)
    assert_problem(await erasing, 422, "invalid_input", "/current_password")
    assert await sql.fetchval("SELECT erased_at FROM users") is None


async def test_of_all_administrators_who_leave_at_once_one_stays(make: Make, sql: asyncpg.Connection) -> None:
    admins = [await make.admin() for _ in range(4)]
    statuses = await asyncio.gather(*(erase(admin) for admin in admins))
    assert sorted(statuses) == [204, 204, 204, 409]
    rows = await sql.fetch("SELECT id FROM users WHERE is_admin AND is_active")
    assert [row["id"] for row in rows] == [admins[statuses.index(409)].id]


async def test_one_who_leaves_and_one_who_is_sent_leave_one(make: Make, sql: asyncpg.Connection) -> None:
    for _ in range(5):
        await sql.execute("UPDATE users SET is_admin = false")
        ada, grace = await make.admin(), await make.admin()
        leaving = erase(ada)
        sending = ada.api.patch(f"/admin/users/{grace.id}", json={"is_admin": False})
        left, sent = await asyncio.gather(leaving, sending)
        # 403: it waited for the administrators' rows until she was none any more.
        assert (left, sent.status_code) in ((204, 401), (204, 403), (409, 200), (204, 409))
        assert await sql.fetchval("SELECT count(*) FROM users WHERE is_admin AND is_active") == 1


async def test_an_order_that_is_being_placed_comes_first(make: Make, sql: asyncpg.Connection) -> None:
    """It holds the customer's row: the deletion waits, and takes away what the order has told."""
    person, chai = await make.user(), await make.item(stock=10)
    async with sql.transaction():
        await sql.execute("SELECT 1 FROM items WHERE id = $1 FOR UPDATE", chai.id)
        placing = asyncio.create_task(person.api.post("/orders", json={"product_id": chai.id, "quantity": 2}))
        await until_blocked(sql)
        erasing = asyncio.create_task(erase(person))
        await until_blocked(sql, 2)
    assert (await placing).status_code == 201
    assert await erasing == 204
    assert await sql.fetchval("SELECT customer_name FROM orders") == "Maria Anders"
    assert await sql.fetchval("SELECT count(*) FROM notifications") == 0


async def test_an_order_that_comes_second_is_refused(make: Make, sql: asyncpg.Connection) -> None:
    person, chai = await make.user(), await make.item(stock=10)
    async with sql.transaction():
        await sql.execute(ERASED, person.id)
        placing = asyncio.create_task(person.api.post("/orders", json={"product_id": chai.id, "quantity": 2}))
        await until_blocked(sql)
    assert_problem(await placing, 422, "invalid_input", "/user_id")
    assert await sql.fetchval("SELECT count(*) FROM orders") == 0
    assert await sql.fetchval("SELECT quantity FROM stock") == 10


WRITING = {
    "address": "INSERT INTO addresses (user_id, street, city, country) VALUES ($1, 'x', 'x', 'DE')"
    " ON CONFLICT (user_id) DO UPDATE SET street = 'x'",
    "session": "INSERT INTO sessions (user_id, client) VALUES ($1, 'Browser/7')",
    "mail": "INSERT INTO mails (kind, user_id, message_id) VALUES ('verify_email', $1, 'x')",
    "token": "INSERT INTO mail_tokens (hash, user_id, purpose, email, account_state, expires_at)"
    " VALUES ('x', $1, 'verify_email', 'x@shop.example', 'x', now())",
}


@pytest.mark.parametrize("statement", WRITING.values(), ids=WRITING)
async def test_nothing_more_is_written_of_who_is_gone(
    make: Make, sql: asyncpg.Connection, database_url: str, statement: str
) -> None:
    """By the database, whatever the code does that began before."""
    person = await make.user()
    await sql.execute("DELETE FROM sessions")
    other = await asyncpg.connect(database_url)
    try:
        async with sql.transaction():
            await sql.execute("SELECT 1 FROM users WHERE id = $1 FOR UPDATE", person.id)
            writing = asyncio.create_task(other.execute(statement, person.id))
            await until_blocked(sql)
            await sql.execute(ERASED, person.id)
        assert await writing == "INSERT 0 0"
    finally:
        await other.close()
    for table in ("addresses", "sessions", "mails", "mail_tokens"):
        assert await sql.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_a_profile_that_is_being_changed_stays_nobodys(make: Make, sql: asyncpg.Connection) -> None:
    person = await make.user()
    async with sql.transaction():
        await sql.execute("SELECT 1 FROM users WHERE id = $1 FOR UPDATE", person.id)
        patch = {"full_name": "Wilhelmine Zauberwort", "address": HOME}
        changing = asyncio.create_task(person.api.patch("/users/profile", json=patch))
        await until_blocked(sql)
        await sql.execute(ERASED, person.id)
    await changing
    assert await sql.fetchval("SELECT full_name FROM users") == "Erased customer"
    assert await sql.fetchval("SELECT count(*) FROM addresses") == 0
