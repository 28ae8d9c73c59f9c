"""The shop's own ids of users, which only staff and API keys see."""

import json
from typing import Any

import asyncpg

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make
from tests.helpers.identity import audited, last_entry
from tests.helpers.metadata import in_events

MARIA = {"email": "maria@shop.example", "password": "Northwind1", "full_name": "Maria Anders"}


async def users(sql: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await sql.fetch("SELECT id, external_id, version FROM users ORDER BY id")
    return [tuple(row) for row in rows]


class TestCreateUser:
    async def test_an_administrator_gives_one(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        answer = await admin.api.post("/users", json={**MARIA, "external_id": "C-1"})
        user = answer.json()
        assert (answer.status_code, user["external_id"]) == (201, "C-1")
        assert (user["id"], "C-1", 1) in await users(sql)
        [event] = await sql.fetch("SELECT data FROM events WHERE type = 'user.registered'")
        assert json.loads(event["data"]) == {**in_events(user), "version": 1}

    async def test_others_may_not(self, make: Make, api: Api, sql: asyncpg.Connection) -> None:
        maria, key = await make.user(), await make.key("users:read")
        before = await users(sql)
        for client in (api, maria.api, key.api):
            for body in ({**MARIA, "external_id": "C-1"}, {"email": "x", "external_id": "C-1"}):
                assert_problem(await client.post("/users", json=body), 403, "forbidden")
        assert await users(sql) == before

    async def test_who_registers_sees_none(self, api: Api) -> None:
        answer = await api.post("/users", json=MARIA)
        assert answer.status_code == 201
        assert "external_id" not in answer.json()

    async def test_one_that_is_taken(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        first = (await admin.api.post("/users", json={**MARIA, "external_id": "C-1"})).json()
        before = await users(sql)
        for email in ("other@shop.example", MARIA["email"]):
            answer = await admin.api.post("/users", json={**MARIA, "email": email, "external_id": "C-1"})
            problem = assert_problem(answer, 409, "external_id_taken", "/external_id")
            assert problem["id"] == first["id"]
        answer = await admin.api.post("/users", json={**MARIA, "external_id": "C-2"})
        assert_problem(answer, 409, "email_taken")
        assert await users(sql) == before


class TestAdministerUser:
    async def test_sets_and_removes_it(self, make: Make, sql: asyncpg.Connection) -> None:
        admin, maria, reader = await make.admin(), await make.user(), await make.key("users:read")
        for external_id in ("C-1", "C-2", None):
            last = await last_entry(sql)
            answer = await admin.api.patch(f"/admin/users/{maria.id}", json={"external_id": external_id})
            assert (answer.status_code, answer.json()["external_id"]) == (200, external_id)
            for client in (admin.api, reader.api):
                shown = (await client.get(f"/users/{maria.id}")).json()
                assert shown == {**answer.json(), "orders": []}
            for path in (f"/users/{maria.id}", "/users/profile"):
                assert "external_id" not in (await maria.api.get(path)).json()
            changed = {"changed": ["external_id"]}
            assert await audited(sql, last) == [("user.changed", admin.id, "user", maria.id, changed)]

    async def test_one_that_is_taken(self, make: Make, sql: asyncpg.Connection) -> None:
        admin, maria, other = await make.admin(), await make.user(), await make.user()
        await admin.api.patch(f"/admin/users/{maria.id}", json={"external_id": "C-1"})
        before, last = await users(sql), await last_entry(sql)
        answer = await admin.api.patch(
            f"/admin/users/{other.id}", json={"external_id": "C-1", "is_active": False}
        )
        problem = assert_problem(answer, 409, "external_id_taken", "/external_id")
        assert problem["id"] == maria.id
        assert (await users(sql), await audited(sql, last)) == (before, [])
        assert (await other.api.get("/users/profile")).status_code == 200


class TestListUsers:
    async def test_by_external_id(self, make: Make) -> None:
        admin, maria, reader = await make.admin(), await make.user(), await make.key("users:read")
        await admin.api.patch(f"/admin/users/{maria.id}", json={"external_id": "C-1"})
        for client in (admin.api, reader.api):
            found = (await client.get("/admin/users?external_id=C-1")).json()
            assert [(user["id"], user["external_id"]) for user in found] == [(maria.id, "C-1")]
            assert (await client.get("/admin/users?external_id=c-1")).json() == []


class TestOwnData:
    async def test_the_export_has_it_and_erasure_empties_it(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin, maria = await make.admin(), await make.user()
        await admin.api.patch(f"/admin/users/{maria.id}", json={"external_id": "C-1"})
        assert (await maria.api.get("/users/profile/export")).json()["profile"]["external_id"] == "C-1"
        body = {"current_password": PASSWORD}
        assert (await maria.api.request("DELETE", "/users/profile", json=body)).status_code == 204
        assert [row[1] for row in await users(sql)] == [None, None]

    async def test_a_changed_profile_shows_none(self, make: Make) -> None:
        admin, maria = await make.admin(), await make.user()
        await admin.api.patch(f"/admin/users/{maria.id}", json={"external_id": "C-1"})
        answer = await maria.api.patch("/users/profile", json={"full_name": "Maria"})
        assert answer.json() == (await maria.api.get("/users/profile")).json()
        assert "external_id" not in answer.json()
