from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make, Person
from tests.helpers.identity import until_void
from tests.helpers.orders import recorded

MARIA: dict[str, Any] = {"email": "Maria@Shop.example", "password": "Northwind1", "full_name": "Maria Anders"}
HOME = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}
WHOLE_HOME = {**HOME, "name": None, "region": None, "postal_code": None}
CHANGE = {"current_password": PASSWORD, "new_password": "Southwind2"}
COMMON = "Password is one of the most common ones; choose another"


async def users(sql: asyncpg.Connection) -> list[str]:
    return [row["email"] for row in await sql.fetch("SELECT email FROM users ORDER BY id")]


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


class TestRegister:
    async def test_the_new_account(self, api: Api) -> None:
        answer = await api.post("/users", json=MARIA)
        user = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/api/v1/users/{user['id']}"
        assert answer.headers["cache-control"] == "private, no-store"
        assert user.pop("created_at").endswith("Z")
        assert user.pop("id") > 0
        assert user == {
            "email": "Maria@shop.example",
            "full_name": "Maria Anders",
            "is_active": True,
            "is_admin": False,
            "email_verified": False,
            "address": None,
        }

    async def test_can_sign_in(self, api: Api) -> None:
        await api.post("/users", json=MARIA)
        token = (await api.token(MARIA["email"], MARIA["password"])).json()["access_token"]
        assert (await api.signed_in(token).get("/users/profile")).json()["full_name"] == "Maria Anders"

    async def test_the_password_is_kept_as_a_hash(self, api: Api, sql: asyncpg.Connection) -> None:
        answer = await api.post("/users", json=MARIA)
        row = await sql.fetchrow("SELECT * FROM users")
        assert row is not None
        assert row["password_hash"].startswith("$argon2id$")
        assert "Northwind1" not in str(dict(row)) + answer.text

    async def test_with_an_address(self, api: Api) -> None:
        for given, kept in (
            (HOME, WHOLE_HOME),
            ({"street": "1 Main St", "city": "Reno"}, {**WHOLE_HOME, "street": "1 Main St", "city": "Reno"}),
        ):
            body = {**MARIA, "email": f"{given['city']}@shop.example", "address": given}
            address = (await api.post("/users", json=body)).json()["address"]
            assert address == {**kept, "country": given.get("country", "US")}

    async def test_text_is_trimmed_and_any_script_is_welcome(self, api: Api) -> None:
        body = {**MARIA, "full_name": "  \u738b\u5c0f\u660e \U0001f375 ", "email": "j\u00f6rg@shop.example"}
        user = (await api.post("/users", json=body)).json()
        assert (user["full_name"], user["email"]) == (
            "\u738b\u5c0f\u660e \U0001f375",
            "j\u00f6rg@shop.example",
        )

    @pytest.mark.parametrize("email", ["Maria@Shop.example", "maria@shop.example", "MARIA@SHOP.EXAMPLE"])
    async def test_an_address_is_taken_in_any_case(
        self, api: Api, sql: asyncpg.Connection, email: str
    ) -> None:
        await api.post("/users", json=MARIA)
        answer = await api.post("/users", json={**MARIA, "email": email})
        assert_problem(answer, 409, "email_taken")
        assert await users(sql) == ["Maria@shop.example"]

    async def test_only_administrators_make_inactive_accounts(
        self, api: Api, make: Make, maria: Person, sql: asyncpg.Connection
    ) -> None:
        inactive = {**MARIA, "is_active": False}
        before = await users(sql)
        for refused in (api, maria.api):
            assert_problem(await refused.post("/users", json=inactive), 403, "forbidden")
        assert await users(sql) == before
        made = await (await make.admin()).api.post("/users", json=inactive)
        assert (made.status_code, made.json()["is_active"]) == (201, False)
        assert (await api.token(MARIA["email"], MARIA["password"])).json()["error"] == "invalid_grant"

    async def test_any_user_may_send_that_it_is_active(self, api: Api) -> None:
        assert (await api.post("/users", json={**MARIA, "is_active": True})).status_code == 201

    async def test_a_bad_token_is_refused_though_the_route_is_public(
        self, api: Api, sql: asyncpg.Connection
    ) -> None:
        assert_problem(await api.signed_in("nonsense").post("/users", json=MARIA), 401, "invalid_token")
        assert await users(sql) == []


class TestBadRegistration:
    @pytest.mark.parametrize(
        ("password", "message"),
        [
            ("short1", "Password must be at least 8 characters"),
            ("", "Password must be at least 8 characters"),
            ("nodigitshere", "Password must contain at least one digit"),
            ("x1" * 65, "Password must be at most 128 characters"),
            ("Password1", COMMON),
            ("abcd1234", COMMON),
            ("nul\0nul\0nul1", "Password must not contain NUL characters"),
        ],
    )
    async def test_the_rules_for_passwords(
        self, api: Api, sql: asyncpg.Connection, password: str, message: str
    ) -> None:
        answer = await api.post("/users", json={**MARIA, "password": password})
        problem = assert_problem(answer, 422, "invalid_input", "/password")
        assert problem["errors"][0]["detail"] == message
        assert not password or password not in answer.text
        assert await users(sql) == []

    @pytest.mark.parametrize("password", ["eight88!", "x1" * 64, "        1", "Passw\u00f6rter1"])
    async def test_good_passwords(self, api: Api, password: str) -> None:
        assert (await api.post("/users", json={**MARIA, "password": password})).status_code == 201
        assert (await api.token(MARIA["email"], password)).status_code == 200

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"email": "maria"}, "/email"),
            ({"email": "maria@"}, "/email"),
            ({"email": "maria@localhost"}, "/email"),
            ({"email": "ma ria@shop.example"}, "/email"),
            ({"email": "nul\0@shop.example"}, "/email"),
            ({"email": "x" * 300 + "@shop.example"}, "/email"),
            ({"email": f"{'x' * 60}@{'.'.join(['y' * 60] * 4)}.example"}, "/email"),
            ({"email": None}, "/email"),
            ({"email": 7}, "/email"),
            ({"password": 12345678}, "/password"),
            ({"password": None}, "/password"),
            ({"full_name": ""}, "/full_name"),
            ({"full_name": " \t "}, "/full_name"),
            ({"full_name": "x" * 201}, "/full_name"),
            ({"full_name": "two\nlines"}, "/full_name"),
            ({"full_name": "nul\0"}, "/full_name"),
            ({"full_name": ["Maria"]}, "/full_name"),
            ({"is_active": "perhaps"}, "/is_active"),
            ({"is_active": None}, "/is_active"),
            ({"is_admin": True}, "/is_admin"),
            ({"email_verified": True}, "/email_verified"),
            ({"id": 1}, "/id"),
            ({"a/b~c": 1}, "/a~1b~0c"),
            ({"address": "Berlin"}, "/address"),
            ({"address": HOME | {"street": ""}}, "/address/street"),
            ({"address": HOME | {"city": "x" * 10_000}}, "/address/city"),
            ({"address": HOME | {"country": "Germany"}}, "/address/country"),
            ({"address": HOME | {"country": "de"}}, "/address/country"),
            ({"address": HOME | {"country": "XX"}}, "/address/country"),
            ({"address": HOME | {"postal_code": "1" * 101}}, "/address/postal_code"),
            ({"address": HOME | {"planet": "Earth"}}, "/address/planet"),
        ],
    )
    async def test_bad_input_is_named_and_not_repeated(
        self, api: Api, sql: asyncpg.Connection, change: dict[str, Any], pointer: str
    ) -> None:
        answer = await api.post("/users", json={**MARIA, **change})
        assert_problem(answer, 422, "invalid_input", pointer)
        assert MARIA["password"] not in answer.text
        for value in change.values():
            assert not isinstance(value, str) or not value.strip() or value not in answer.text
        assert await users(sql) == []

    async def test_every_fault_at_once(self, api: Api) -> None:
        answer = await api.post("/users", json={})
        assert_problem(answer, 422, "invalid_input", "/email", "/password", "/full_name")
        answer = await api.post("/users", json={"email": "x", "password": "x", "full_name": "", "x": 1})
        assert_problem(answer, 422, "invalid_input", "/email", "/password", "/full_name", "/x")

    async def test_what_the_library_says_of_an_address_is_cut_before_it_quotes(self, api: Api) -> None:
        problem = (await api.post("/users", json={**MARIA, "email": "se<cret>@shop.example"})).json()
        assert problem["errors"][0]["detail"] == "Send an e-mail address such as name@example.com."


class TestChangeProfile:
    async def test_what_is_absent_stays(self, make: Make) -> None:
        maria = await make.user(full_name="Maria Anders", address=HOME)
        before = (await maria.api.get("/users/profile")).json()
        assert (await maria.api.patch("/users/profile", json={})).json() == before
        answer = await maria.api.patch("/users/profile", json={"full_name": " Maria A. "})
        assert (answer.status_code, answer.json()) == (200, {**before, "full_name": "Maria A."})
        assert (await maria.api.get("/users/profile")).json() == answer.json()

    async def test_an_address_is_added_merged_and_removed(
        self, maria: Person, sql: asyncpg.Connection
    ) -> None:
        async def changed(address: dict[str, Any] | None) -> Any:
            answer = await maria.api.patch("/users/profile", json={"address": address})
            assert answer.status_code == 200, answer.text
            return answer.json()["address"]

        assert await changed(HOME) == WHOLE_HOME
        assert await changed({"city": "Bonn", "name": "M. Anders"}) == {
            **WHOLE_HOME,
            "city": "Bonn",
            "name": "M. Anders",
        }
        assert await changed({"name": None, "postal_code": "53111"}) == {
            **WHOLE_HOME,
            "city": "Bonn",
            "postal_code": "53111",
        }
        assert (await changed({}))["postal_code"] == "53111"
        assert (await changed({"country": None}))["country"] == "US"
        assert await changed(None) is None
        assert await sql.fetchval("SELECT count(*) FROM addresses") == 0
        assert await changed(None) is None

    @pytest.mark.parametrize(
        ("patch", "pointers"),
        [
            ({"full_name": None}, ["/full_name"]),
            ({"full_name": ""}, ["/full_name"]),
            ({"email": "other@shop.example"}, ["/current_password"]),
            ({"is_admin": True}, ["/is_admin"]),
            ({"password": "Northwind1"}, ["/password"]),
            ({"address": {"street": None, "city": None}}, ["/address/street", "/address/city"]),
            ({"address": {"country": "XX"}}, ["/address/country"]),
            ({"full_name": "Changed", "address": {"city": None}}, ["/address/city"]),
        ],
    )
    async def test_a_refused_change_changes_nothing(
        self, make: Make, patch: dict[str, Any], pointers: list[str]
    ) -> None:
        maria = await make.user(address=HOME)
        before = (await maria.api.get("/users/profile")).json()
        answer = await maria.api.patch("/users/profile", json=patch)
        assert_problem(answer, 422, "invalid_input", *pointers)
        assert (await maria.api.get("/users/profile")).json() == before

    async def test_the_first_address_must_be_whole(self, maria: Person, sql: asyncpg.Connection) -> None:
        answer = await maria.api.patch("/users/profile", json={"address": {"country": "DE"}})
        assert_problem(answer, 422, "invalid_input", "/address/street", "/address/city")
        assert await sql.fetchval("SELECT count(*) FROM addresses") == 0

    async def test_needs_a_token(self, api: Api) -> None:
        assert_problem(await api.patch("/users/profile", json={}), 401, "unauthenticated")


class TestChangePassword:
    async def test_the_new_one_works_and_the_other_sessions_end(
        self, api: Api, make: Make, maria: Person
    ) -> None:
        other = await make.user()
        elsewhere = api.signed_in((await api.token(maria.email, PASSWORD)).json()["access_token"])
        answer = await maria.api.post("/users/profile/password", json=CHANGE)
        assert (answer.status_code, answer.content) == (204, b"")
        assert (await maria.api.get("/users/profile")).status_code == 200
        await until_void(elsewhere)
        assert (await other.api.get("/users/profile")).status_code == 200
        assert (await api.token(maria.email, PASSWORD)).status_code == 400
        assert (await api.token(maria.email, "Southwind2")).status_code == 200

    @pytest.mark.parametrize("current", ["wrong-horse-1", "", PASSWORD + " "])
    async def test_a_wrong_current_password_changes_nothing(
        self, api: Api, maria: Person, sql: asyncpg.Connection, current: str
    ) -> None:
        before = await sql.fetchval("SELECT password_hash FROM users")
        body = {**CHANGE, "current_password": current}
        problem = assert_problem(
            await maria.api.post("/users/profile/password", json=body),
            422,
            "invalid_input",
            "/current_password",
        )
        assert problem["errors"][0]["code"] == "wrong_password"
        assert await sql.fetchval("SELECT password_hash FROM users") == before
        assert await sql.fetchval("SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL") == 0

    async def test_the_new_one_keeps_the_rules(self, maria: Person) -> None:
        for body, pointers in (
            ({**CHANGE, "new_password": "short1"}, ["/new_password"]),
            ({**CHANGE, "new_password": "Password1"}, ["/new_password"]),
            ({}, ["/current_password", "/new_password"]),
        ):
            answer = await maria.api.post("/users/profile/password", json=body)
            assert_problem(answer, 422, "invalid_input", *pointers)

    async def test_one_changed_meanwhile_is_not_overwritten(
        self, maria: Person, make: Make, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A thief's change and the owner's: the one that comes second must know the first's password."""

        async def hash_slowly(password: str) -> str:
            await sql.execute("UPDATE users SET password_hash = 'the first'")
            return "the second"

        monkeypatch.setattr(make.container.passwords, "hash", hash_slowly)
        answer = await maria.api.post("/users/profile/password", json=CHANGE)
        assert_problem(answer, 422, "invalid_input", "/current_password")
        assert await sql.fetchval("SELECT password_hash FROM users") == "the first"

    async def test_needs_a_token(self, api: Api) -> None:
        assert_problem(await api.post("/users/profile/password", json=CHANGE), 401, "unauthenticated")


class TestGetUser:
    async def test_ones_own_with_address_and_orders(self, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user(address=HOME)
        profile = (await maria.api.get("/users/profile")).json()
        answer = await maria.api.get(f"/users/{maria.id}")
        assert (answer.status_code, answer.json()) == (200, {**profile, "orders": []})
        assert profile["address"] == WHOLE_HOME

    async def test_the_last_hundred_orders_newest_first(self, maria: Person, sql: asyncpg.Connection) -> None:
        now = datetime.now(UTC)
        for n in range(1, 102):
            await recorded(sql, maria, reference=str(n), placed_at=now - timedelta(hours=n))
        orders = (await maria.api.get(f"/users/{maria.id}")).json()["orders"]
        assert [order["reference"] for order in orders] == [str(n) for n in range(1, 101)]

    async def test_an_administrator_sees_any_user(self, make: Make, maria: Person) -> None:
        own = await maria.api.get(f"/users/{maria.id}")
        seen = await (await make.admin()).api.get(f"/users/{maria.id}")
        assert (seen.status_code, seen.json()) == (200, own.json())

    async def test_other_users_and_unknown_ones_are_404(self, make: Make, maria: Person) -> None:
        other = await make.user()
        another, nobody = [
            assert_problem(await other.api.get(f"/users/{user_id}"), 404, "not_found")
            for user_id in (maria.id, 2**63 - 1)
        ]
        assert another["detail"] == nobody["detail"]
        assert_problem(await (await make.admin()).api.get(f"/users/{2**63 - 1}"), 404, "not_found")

    async def test_needs_a_token(self, api: Api, maria: Person) -> None:
        assert_problem(await api.get(f"/users/{maria.id}"), 401, "unauthenticated")

    @pytest.mark.parametrize("user_id", ["0", "-1", str(2**63), "me"])
    async def test_what_cannot_be_an_id_is_422(self, maria: Person, user_id: str) -> None:
        assert_problem(await maria.api.get(f"/users/{user_id}"), 422, "invalid_input", "{user_id}")
