import re
from typing import Any

import asyncpg
import pytest

from service.container.api import Container
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make, Person
from tests.helpers.identity import audited, last_entry, sign_in, until_answered, until_void
from tests.helpers.mailbox import mailed_token

NAME, EMAIL, STREET = "Wilhelmine Zauberwort", "wilhelmine.zauberwort@shop.example", "Rumpelgasse 17"
ADDRESS = {
    "name": NAME,
    "street": STREET,
    "city": "Zwiesel",
    "region": None,
    "postal_code": "94227",
    "country": "DE",
}
#: What nobody else in the database has.
TRACES = ("zauberwort", "rumpelgasse", "zwiesel", "94227", "browser/7")
DELETION = {"current_password": PASSWORD}


async def erase(person: Person) -> None:
    answer = await person.api.request("DELETE", "/users/profile", json=DELETION)
    assert (answer.status_code, answer.content) == (204, b""), answer.text


async def traces(sql: asyncpg.Connection) -> dict[str, set[str]]:
    """What can still be read of the person, by column: in every column of every table."""
    columns = await sql.fetch(
        "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables"
        " USING (table_schema, table_name)"
        " WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> 'alembic_version'"
    )
    found: dict[str, set[str]] = {}
    for table, column in columns:
        rows = await sql.fetch(
            f'SELECT DISTINCT "{column}"::text FROM "{table}" WHERE "{column}" IS NOT NULL'
        )
        text = "\n".join(row[0] for row in rows).lower()
        if here := {trace for trace in TRACES if trace in text}:
            found[f"{table}.{column}"] = here
    return found


async def everything(sql: asyncpg.Connection, *tables: str) -> list[Any]:
    return [row for table in tables for row in await sql.fetch(f"SELECT * FROM {table} ORDER BY 1")]


async def customer(make: Make) -> Person:
    """A user with data in every table that can have some."""
    person = await make.user(email=EMAIL, full_name=NAME, address=ADDRESS)
    agent = {"User-Agent": "Browser/7", "X-Request-ID": "request-number-1"}
    await make.api.post(
        "/auth/token",
        data={"grant_type": "password", "username": EMAIL, "password": PASSWORD},
        headers=agent,
    )
    await make.api.post(
        "/auth/token", data={"grant_type": "password", "username": EMAIL, "password": "wrong-1"}
    )
    chai = await make.item(stock=100)
    for _ in range(2):
        placed = await person.api.post(
            "/orders", json={"product_id": chai.id, "quantity": 2, "reference": "PO 4711"}
        )
        assert placed.status_code == 201
    cancelled = await person.api.post(
        f"/orders/{placed.json()['id']}/cancel", json={"reason": f"{NAME} is ill"}
    )
    assert cancelled.status_code == 200
    await make.post(person, title="Good tea", published=True)
    await make.post(person, title="Waiting", body=f"I am {NAME}", published=False)
    await person.api.post("/auth/verify-email")
    await mailed_token(make.container, EMAIL)
    return person


class TestErasure:
    async def test_the_person_is_nowhere_but_in_the_orders(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        person = await customer(make)
        before = await traces(sql)
        assert before.keys() >= {
            "users.email", "users.full_name", "addresses.street", "orders.customer_name", "orders.ship_to",
            "orders.cancel_reason", "sessions.client", "posts.body", "mail_tokens.email",
        }  # fmt: skip
        await erase(person)
        assert await traces(sql) == {
            "orders.customer_name": {"zauberwort"},
            "orders.ship_to": {"zauberwort", "rumpelgasse", "zwiesel", "94227"},
        }

    async def test_what_remains_of_the_account_identifies_no_person(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        person = await customer(make)
        was = await sql.fetchrow("SELECT * FROM users WHERE id = $1", person.id)
        await erase(person)
        row = await sql.fetchrow("SELECT * FROM users WHERE id = $1", person.id)
        assert was is not None
        assert row is not None
        left = dict(row)
        assert left.pop("password_hash") not in ("", was["password_hash"])
        assert left.pop("erased_at") == left.pop("access_changed_at")
        assert left == {
            "id": person.id,
            "email": f"erased-{person.id}@erased.invalid",
            "full_name": "Erased customer",
            "is_active": False,
            "is_admin": False,
            "email_verified": False,
            "version": was["version"] + 2,  # without the address, and as nobody
            "created_at": was["created_at"],
        }
        for table in ("addresses", "notifications", "mails", "mail_tokens", "refresh_tokens"):
            assert await everything(sql, table) == [], table

    async def test_orders_and_published_posts_stay(self, make: Make, sql: asyncpg.Connection) -> None:
        person, ada = await customer(make), await make.admin()
        before = (await ada.api.get(f"/orders?user_id={person.id}")).json()
        movements = await everything(sql, "stock_movements", "stock")
        await erase(person)
        after = (await ada.api.get(f"/orders?user_id={person.id}")).json()
        assert len(after) == 2
        [placed] = [order for order in before if order["cancel_reason"] is None]
        [cancelled] = [order for order in before if order is not placed]
        changed = next(order for order in after if order["id"] == cancelled["id"])
        assert changed["updated_at"] > cancelled["updated_at"]
        forgotten = {"cancel_reason": None, "version": 3, "updated_at": changed["updated_at"]}
        expected = [placed, {**cancelled, **forgotten}]
        assert after == sorted(expected, key=lambda order: order["id"], reverse=True)
        assert await everything(sql, "stock_movements", "stock") == movements
        [post] = (await make.api.get("/posts")).json()
        assert (post["title"], post["author_name"]) == ("Good tea", "Erased customer")
        assert [row["title"] for row in await everything(sql, "posts")] == ["Good tea"]

    async def test_others_keep_everything(self, make: Make, sql: asyncpg.Connection) -> None:
        other = await make.user(full_name="Ana Trujillo", address=ADDRESS)
        await make.notification(other)
        await make.post(other, published=False)
        tables = ("notifications", "posts", "addresses", "sessions")
        before = await everything(sql, *tables)
        person = await make.user(full_name=NAME, address=ADDRESS)
        await make.notification(person)
        await make.post(person, published=False)
        await erase(person)
        await sql.execute("DELETE FROM sessions WHERE user_id = $1", person.id)
        assert await everything(sql, *tables) == before

    async def test_is_signed_out_everywhere_and_cannot_sign_in_again(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        person = await make.user(email=EMAIL)
        tokens = await sign_in(make.api, person)
        await erase(person)
        await until_void(person.api)
        other = make.api.signed_in(tokens["access_token"])
        await until_void(other)
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        assert (await make.api.post("/auth/token", data=form)).json()["error"] == "invalid_grant"
        for email in (EMAIL, f"erased-{person.id}@erased.invalid"):
            assert (await make.api.token(email, PASSWORD)).json()["error"] == "invalid_grant"
        assert await sql.fetchval("SELECT count(*) FROM sessions WHERE ended_at IS NULL") == 0

    async def test_the_address_may_be_registered_again(self, make: Make) -> None:
        await erase(await make.user(email=EMAIL))
        again = await make.user(email=EMAIL.upper())
        assert (await again.api.get("/orders")).json() == []

    async def test_the_placeholder_of_the_address_cannot_be_registered(self, api: Api) -> None:
        new = {"email": "erased-7@erased.invalid", "password": "Northwind1", "full_name": "Nobody"}
        assert_problem(await api.post("/users", json=new), 422, "invalid_input", "/email")

    async def test_is_audited_and_leaves_no_client_address(self, make: Make, sql: asyncpg.Connection) -> None:
        ada = await make.admin()
        await sign_in(make.api, ada)
        person, before = await customer(make), await last_entry(sql)
        addresses = "SELECT count(*) FROM audit_addresses"
        assert await sql.fetchval(addresses) > 5
        await erase(person)
        assert await audited(sql, before) == [("user.erased", person.id, "user", person.id, {})]
        # The factory's own entry bears the address of whatever request came before it.
        left = await sql.fetch(
            "SELECT actor_id, action FROM audit_log JOIN audit_addresses ON audit_id = audit_log.id"
            " WHERE action <> 'item.created'"
        )
        assert [tuple(row) for row in left] == [(ada.id, "session.started")]

    async def test_the_keys_of_an_administrator_end(self, make: Make, sql: asyncpg.Connection) -> None:
        await make.admin()
        machine = await make.key("orders:read")
        await erase(machine.maker)
        assert_problem(await until_answered(machine.api, "/orders", 401), 401, "invalid_token")
        assert await sql.fetchval("SELECT revoked_at IS NOT NULL FROM api_keys") is True

    async def test_the_account_cannot_be_reactivated(self, make: Make, sql: asyncpg.Connection) -> None:
        person, ada = await make.user(), await make.admin()
        await erase(person)
        before = await everything(sql, "users")
        for change in ({"is_active": True}, {"is_admin": True}):
            answer = await ada.api.patch(f"/admin/users/{person.id}", json=change)
            assert_problem(answer, 404, "not_found")
        chai = await make.item(stock=10)
        body = {"product_id": chai.id, "quantity": 1, "user_id": person.id}
        assert_problem(await ada.api.post("/orders", json=body), 422, "invalid_input", "/user_id")
        assert await everything(sql, "users") == before
        with pytest.raises(asyncpg.CheckViolationError):
            await sql.execute("UPDATE users SET is_active = true WHERE erased_at IS NOT NULL")

    async def test_unpaid_orders_are_left_to_time(self, make: Make, sql: asyncpg.Connection) -> None:
        person, chai = await make.user(), await make.item(stock=10)
        await person.api.post("/orders", json={"product_id": chai.id, "quantity": 2})
        await erase(person)
        assert await sql.fetchval("SELECT status FROM orders") == "placed"
        assert await sql.fetchval("SELECT quantity FROM stock") == 8


class TestRefusal:
    async def test_a_wrong_password(self, make: Make, sql: asyncpg.Connection) -> None:
        person = await customer(make)
        before = await everything(sql, "users", "addresses", "sessions", "posts")
        answer = await person.api.request(
            "DELETE", "/users/profile", json={"current_password": "wrong-horse-1"}
        )
        problem = assert_problem(answer, 422, "invalid_input", "/current_password")
        assert problem["errors"][0]["code"] == "wrong_password"
        assert "wrong-horse-1" not in answer.text
        assert await everything(sql, "users", "addresses", "sessions", "posts") == before

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, "/current_password"),
            ({"current_password": None}, "/current_password"),
            ({"current_password": 7}, "/current_password"),
            ({"current_password": PASSWORD, "really": True}, "/really"),
        ],
    )
    async def test_bad_input(
        self, make: Make, sql: asyncpg.Connection, body: dict[str, Any], pointer: str
    ) -> None:
        person = await make.user()
        answer = await person.api.request("DELETE", "/users/profile", json=body)
        assert_problem(answer, 422, "invalid_input", pointer)
        assert (await person.api.get("/users/profile")).status_code == 200

    async def test_without_a_body(self, make: Make) -> None:
        person = await make.user()
        answer = await person.api.delete("/users/profile")
        assert answer.status_code == 422
        assert (await person.api.get("/users/profile")).status_code == 200

    async def test_the_last_administrator_stays(self, make: Make, sql: asyncpg.Connection) -> None:
        ada = await make.admin()
        await make.user()
        before = await everything(sql, "users", "sessions")
        answer = await ada.api.request("DELETE", "/users/profile", json=DELETION)
        assert_problem(answer, 409, "last_administrator")
        assert await everything(sql, "users", "sessions") == before
        await make.admin()
        await erase(ada)

    async def test_needs_a_token(self, api: Api) -> None:
        answer = await api.request("DELETE", "/users/profile", json=DELETION)
        assert_problem(answer, 401, "unauthenticated")


async def test_every_table_that_knows_persons_has_been_thought_of(sql: asyncpg.Connection) -> None:
    """A new one belongs into the repositories of customers/erasure and customers/export, and then here."""
    rows = await sql.fetch(
        "SELECT conrelid::regclass::text AS of, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
        " WHERE contype = 'f' AND confrelid = 'users'::regclass"
    )
    known = {f"{row['of']}.{re.findall(r'[(](.*?)[)]', row['definition'])[0]}" for row in rows}
    assert known == {
        "addresses.user_id", "api_keys.created_by", "mail_tokens.user_id", "mails.user_id",
        "notifications.user_id", "orders.user_id", "posts.author_id", "sessions.user_id",
        "stock_movements.actor_id",
    }  # fmt: skip
