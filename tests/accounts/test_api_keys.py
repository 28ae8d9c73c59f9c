import asyncio
import logging
from typing import Any

import asyncpg
import pytest

from service.container.api import Container
from service.identity import service as identity
from service.identity.api_keys.format import can_be_key, new_key
from service.platform.crypto import fingerprint
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Machine, Make, Person
from tests.helpers.identity import audited, last_entry
from tests.helpers.waiting import eventually, until_blocked

TILL = {"name": "Till in Berlin", "scopes": ["orders:read", "orders:write"]}
FAR = "2999-01-01T00:00:00Z"
ALL = ["catalogue:write", "orders:read", "orders:write", "users:read", "events:read"]


async def keys(sql: asyncpg.Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in await sql.fetch("SELECT * FROM api_keys ORDER BY id")]


@pytest.fixture
async def ada(make: Make) -> Person:
    return await make.admin()


class TestCreate:
    async def test_the_answer_has_the_key(self, ada: Person, sql: asyncpg.Connection) -> None:
        before = await last_entry(sql)
        answer = await ada.api.post("/api-keys", json={**TILL, "expires_at": FAR})
        made = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/api/v1/api-keys/{made['id']}"
        assert answer.headers["cache-control"] == "private, no-store"
        key = made.pop("key")
        assert made == (await ada.api.get(f"/api-keys/{made['id']}")).json()
        assert made.pop("created_at").endswith("Z")
        key_id = made.pop("id")
        assert made == {
            **TILL,
            "hint": key[:8],
            "created_by": ada.id,
            "expires_at": FAR,
            "last_used_at": None,
            "revoked_at": None,
        }
        noted = {"scopes": TILL["scopes"], "expires_at": FAR}
        assert await audited(sql, before) == [("api_key.created", ada.id, "api_key", key_id, noted)]

    async def test_the_key_opens_what_its_scopes_say(self, make: Make, ada: Person) -> None:
        made = (await ada.api.post("/api-keys", json=TILL)).json()
        machine = make.api.signed_in(made["key"])
        assert (await machine.get("/orders")).status_code == 200
        refused = await machine.get("/admin/users")
        assert_problem(refused, 403, "insufficient_scope")
        assert made["expires_at"] is None

    async def test_it_is_kept_as_a_hash(self, ada: Person, sql: asyncpg.Connection) -> None:
        key = (await ada.api.post("/api-keys", json=TILL)).json()["key"]
        [row] = await keys(sql)
        assert len(row["hash"]) == 32
        assert key[8:] not in str(row)
        assert key[8:].encode() not in row["hash"]

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"name": ""}, "/name"),
            ({"name": "nul\0"}, "/name"),
            ({"name": "x" * 10_000}, "/name"),
            ({"name": None}, "/name"),
            ({"scopes": []}, "/scopes"),
            ({"scopes": None}, "/scopes"),
            ({"scopes": ["orders:read", "orders:read"]}, "/scopes"),
            ({"scopes": ["everything"]}, "/scopes/0"),
            ({"scopes": [*ALL, "orders:read"]}, "/scopes"),
            ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
            ({"expires_at": "2999-01-01T00:00:00"}, "/expires_at"),
            ({"expires_at": "9999-12-31T23:59:59-12:00"}, "/expires_at"),
            ({"expires_at": 32472144000}, "/expires_at"),
            ({"expires_at": "tomorrow"}, "/expires_at"),
            ({"key": "tp_mine"}, "/key"),
        ],
    )
    async def test_bad_input(
        self, ada: Person, sql: asyncpg.Connection, change: dict[str, Any], pointer: str
    ) -> None:
        answer = await ada.api.post("/api-keys", json={**TILL, **change})
        assert_problem(answer, 422, "invalid_input", pointer)
        assert await keys(sql) == []

    async def test_who_may_not(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, machine = await make.user(), await make.key(*ALL)  # type: ignore[arg-type]
        assert_problem(await make.api.post("/api-keys", json=TILL), 401, "unauthenticated")
        assert_problem(await maria.api.post("/api-keys", json=TILL), 403, "forbidden")
        assert_problem(await machine.api.post("/api-keys", json=TILL), 403, "insufficient_scope")
        assert [row["id"] for row in await keys(sql)] == [machine.id]


class TestList:
    async def test_newest_first_with_those_that_are_revoked(self, make: Make, ada: Person) -> None:
        made = [(await make.key("orders:read", maker=ada)).id for _ in range(3)]
        await ada.api.delete(f"/api-keys/{made[1]}")
        first = await ada.api.get("/api-keys?limit=2")
        second = await ada.api.get(first.headers["link"].partition(">")[0].removeprefix("</api/v1"))
        listed = [*first.json(), *second.json()]
        assert [each["id"] for each in listed] == made[::-1]
        assert [each["revoked_at"] is not None for each in listed] == [False, True, False]
        assert "link" not in second.headers
        assert "key" not in listed[0]

    async def test_everybodys(self, make: Make, ada: Person) -> None:
        machine = await make.key("orders:read")
        [listed] = (await ada.api.get("/api-keys")).json()
        assert (listed["id"], listed["created_by"]) == (machine.id, machine.maker.id)

    async def test_only_administrators(self, make: Make) -> None:
        machine, maria = await make.key("users:read"), await make.user()
        for path in ("/api-keys", f"/api-keys/{machine.id}"):
            assert_problem(await maria.api.get(path), 403, "forbidden")
            assert_problem(await machine.api.get(path), 403, "insufficient_scope")

    async def test_an_unknown_one_is_404(self, ada: Person) -> None:
        for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
            answer = await ada.api.request(method, "/api-keys/9223372036854775807", json=body)
            assert_problem(answer, 404, "not_found")


class TestChange:
    async def test_what_is_absent_stays(self, make: Make, ada: Person, sql: asyncpg.Connection) -> None:
        machine = await make.key("orders:read", maker=ada)
        before = await last_entry(sql)
        for patch in ({"name": "Till 2"}, {"expires_at": FAR}, {"expires_at": None}, {}):
            was = (await ada.api.get(f"/api-keys/{machine.id}")).json()
            answer = await ada.api.patch(f"/api-keys/{machine.id}", json=patch)
            assert (answer.status_code, answer.json()) == (200, {**was, **patch})
        noted = [(action, data) for action, _, _, _, data in await audited(sql, before)]
        assert noted == [
            ("api_key.changed", {}),
            ("api_key.changed", {"expires_at": FAR}),
            ("api_key.changed", {"expires_at": None}),
        ]

    async def test_a_narrower_key_is_narrower_at_once(self, make: Make, ada: Person) -> None:
        machine = await make.key("orders:read", "users:read")
        assert (await machine.api.get("/admin/users")).status_code == 200
        await ada.api.patch(f"/api-keys/{machine.id}", json={"scopes": ["orders:read"]})
        await heard(machine, "/admin/users", 403)
        assert (await machine.api.get("/orders")).status_code == 200

    async def test_a_wider_one_is_wider(self, make: Make, ada: Person) -> None:
        machine = await make.key("orders:read")
        assert (await machine.api.get("/admin/users")).status_code == 403
        answer = await ada.api.patch(f"/api-keys/{machine.id}", json={"scopes": ["users:read"]})
        assert answer.json()["scopes"] == ["users:read"]
        await heard(machine, "/admin/users", 200)

    @pytest.mark.parametrize(
        ("patch", "pointer"),
        [
            ({"name": None}, "/name"),
            ({"scopes": None}, "/scopes"),
            ({"scopes": []}, "/scopes"),
            ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
            ({"revoked_at": None}, "/revoked_at"),
        ],
    )
    async def test_bad_input(
        self, make: Make, ada: Person, sql: asyncpg.Connection, patch: dict[str, Any], pointer: str
    ) -> None:
        machine = await make.key("orders:read")
        before = await keys(sql)
        answer = await ada.api.patch(f"/api-keys/{machine.id}", json=patch)
        assert_problem(answer, 422, "invalid_input", pointer)
        assert await keys(sql) == before

    async def test_a_revoked_key_stays_as_it_is(
        self, make: Make, ada: Person, sql: asyncpg.Connection
    ) -> None:
        machine = await make.key("orders:read")
        await ada.api.delete(f"/api-keys/{machine.id}")
        before = await keys(sql)
        answer = await ada.api.patch(f"/api-keys/{machine.id}", json={"expires_at": None})
        assert_problem(answer, 409, "api_key_revoked")
        assert await keys(sql) == before


async def heard(machine: Machine, path: str, status: int) -> None:
    """The change arrives by the change feed within a second; no process queries the database."""
    for _ in range(100):
        answer = await machine.api.get(path)
        if answer.status_code == status:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{path} still answers {answer.status_code}")


class TestRevoke:
    async def test_ends_it_at_once_and_for_good(
        self, make: Make, ada: Person, sql: asyncpg.Connection
    ) -> None:
        machine = await make.key("orders:read")
        assert (await machine.api.get("/orders")).status_code == 200
        before = await last_entry(sql)
        first = await ada.api.delete(f"/api-keys/{machine.id}")
        await heard(machine, "/orders", 401)
        [row] = await keys(sql)
        second = await ada.api.delete(f"/api-keys/{machine.id}")
        assert (first.status_code, second.status_code, first.content) == (204, 204, b"")
        assert await keys(sql) == [row]
        assert await audited(sql, before) == [("api_key.revoked", ada.id, "api_key", machine.id, {})]

    @pytest.mark.parametrize("change", [{"is_admin": False}, {"is_active": False}], ids=str)
    async def test_who_loses_the_role_loses_the_keys(
        self, make: Make, ada: Person, sql: asyncpg.Connection, change: dict[str, bool]
    ) -> None:
        """For good: a role that is granted again does not bring back keys that nobody remembers."""
        grace = await make.admin()
        lost, kept = await make.key("orders:read", maker=grace), await make.key("orders:read", maker=ada)
        assert (await lost.api.get("/orders")).status_code == 200
        await ada.api.patch(f"/admin/users/{grace.id}", json=change)
        await heard(lost, "/orders", 401)
        await ada.api.patch(f"/admin/users/{grace.id}", json=dict.fromkeys(change, True))
        assert_problem(await lost.api.get("/orders"), 401, "invalid_token")
        assert (await kept.api.get("/orders")).status_code == 200
        assert [row["revoked_at"] is None for row in await keys(sql)] == [False, True]

    async def test_whatever_statement_takes_the_role(self, make: Make, sql: asyncpg.Connection) -> None:
        machine = await make.key("orders:read")
        assert (await machine.api.get("/orders")).status_code == 200
        await sql.execute("UPDATE users SET is_admin = false WHERE id = $1", machine.maker.id)
        await heard(machine, "/orders", 401)

    async def test_another_change_of_the_maker_leaves_it(self, make: Make) -> None:
        machine = await make.key("orders:read")
        await machine.maker.api.patch("/users/profile", json={"full_name": "Grace Hopper"})
        assert (await machine.api.get("/orders")).status_code == 200


class TestUse:
    @pytest.mark.parametrize(
        "spoil",
        [
            lambda key: key[:-1],
            lambda key: key + "0",
            lambda key: key[:10] + ("a" if key[10] != "a" else "b") + key[11:],
            lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"),
            lambda key: key[:20] + key[21] + key[20] + key[22:] if key[20] != key[21] else "tp_",
            lambda key: "tp_",
            lambda key: "tp_" + "x" * 10_000,
        ],
    )
    async def test_a_slip_is_seen_without_asking_the_database(
        self, make: Make, container: Container, monkeypatch: pytest.MonkeyPatch, spoil: Any
    ) -> None:
        machine = await make.key("orders:read")

        async def ask(*_: object) -> None:
            pytest.fail("the database was asked")

        monkeypatch.setattr(identity, "look_up_key", ask)
        answer = await make.api.signed_in(spoil(machine.key)).get("/orders")
        problem = assert_problem(answer, 401, "invalid_token")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert problem["detail"] == "The API key is unknown, expired or revoked. Send a valid key."
        assert machine.key[8:20] not in answer.text

    async def test_a_key_that_was_never_made_is_refused(self, api: Api) -> None:
        assert_problem(await api.signed_in(new_key()).get("/orders"), 401, "invalid_token")
        assert_problem(await api.signed_in(new_key()).get("/items"), 401, "invalid_token")

    async def test_it_goes_where_tokens_go_and_nowhere_else(self, make: Make) -> None:
        machine = await make.key("orders:read")
        for scheme in ("Bearer", "bearer", "BEARER "):
            answer = await make.api.get("/orders", headers={"Authorization": f"{scheme} {machine.key}"})
            assert answer.status_code == 200
        answer = await make.api.get("/orders", headers={"Authorization": f"Basic {machine.key}"})
        assert_problem(answer, 401, "invalid_token")
        assert_problem(
            await make.api.get("/orders", headers={"X-API-Key": machine.key}), 401, "unauthenticated"
        )

    async def test_it_ends_when_it_expires(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        """By the database's clock; what is remembered of it ends at the same time."""
        machine, forgotten = await make.key("orders:read"), container.api_keys.generation
        await sql.execute("UPDATE api_keys SET expires_at = now() + interval '1 hour'")
        await eventually(lambda: container.api_keys.generation > forgotten)
        assert (await machine.api.get("/orders")).status_code == 200
        left = container.api_keys._keys[fingerprint(machine.key)].ends - container.api_keys.clock()
        assert round(left, -2) == 3600
        clock = container.api_keys.clock
        container.api_keys.clock = lambda: clock() + 3601
        assert_problem(await machine.api.get("/orders"), 401, "invalid_token")
        container.api_keys.clock = clock
        assert (await machine.api.get("/orders")).status_code == 200
        await sql.execute("UPDATE api_keys SET expires_at = now()")
        await heard(machine, "/orders", 401)

    async def test_it_is_in_no_log_line(
        self, make: Make, ada: Person, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        made = (await ada.api.post("/api-keys", json=TILL)).json()
        machine = make.api.signed_in(made["key"])
        await machine.get("/orders")
        await machine.get("/admin/users")
        await make.api.signed_in(made["key"][:-1]).get("/orders")
        assert caplog.text.count("request.answered") == 4
        assert made["key"][8:16] not in caplog.text

    async def test_a_public_route_takes_no_notice_of_it(self, make: Make) -> None:
        machine = await make.key("events:read")
        post = await make.post(await make.user(), published=False)
        assert (await machine.api.get("/posts")).json() == []
        assert_problem(await machine.api.get(f"/posts/{post}"), 404, "not_found")
        assert (await machine.api.get("/items")).status_code == 200


class TestLastUse:
    @staticmethod
    async def last_used(container: Container, sql: asyncpg.Connection) -> Any:
        await container.api_keys.settle()
        return await sql.fetchval("SELECT last_used_at FROM api_keys")

    async def test_is_noted_at_most_once_a_minute(
        self, make: Make, container: Container, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        machine = await make.key("orders:read")
        assert await self.last_used(container, sql) is None
        await asyncio.gather(*(machine.api.get("/orders") for _ in range(4)))
        first = await self.last_used(container, sql)
        assert first is not None
        await machine.api.get("/orders")
        assert await self.last_used(container, sql) == first
        # Another process, which has not seen the first use, comes a moment later.
        container.api_keys._noted.clear()
        await machine.api.get("/orders")
        assert await self.last_used(container, sql) == first
        container.api_keys._noted.clear()
        await sql.execute("UPDATE api_keys SET last_used_at = last_used_at - interval '1 minute'")
        await machine.api.get("/orders")
        assert await self.last_used(container, sql) > first

    async def test_is_shown(self, make: Make, container: Container) -> None:
        machine = await make.key("orders:read")
        await machine.api.get("/orders")
        await container.api_keys.settle()
        shown = (await machine.maker.api.get(f"/api-keys/{machine.id}")).json()
        assert shown["last_used_at"].endswith("Z")

    async def test_no_request_waits_for_it_or_fails_with_it(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        machine = await make.key("orders:read")
        async with sql.transaction():
            await sql.execute("SELECT 1 FROM api_keys FOR UPDATE")
            assert (await machine.api.get("/orders")).status_code == 200
            assert len(container.api_keys._notes) == 1
            await until_blocked(sql)
            await sql.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            await container.api_keys.settle()
        assert (await machine.api.get("/orders")).status_code == 200
        assert await self.last_used(container, sql) is None

    async def test_does_not_make_others_forget_the_key(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        machine = await make.key("orders:read")
        await machine.api.get("/orders")
        assert await self.last_used(container, sql) is not None
        # Notifications are ordered: a listener that has received the second has received all between.
        seen = container.api_keys.generation
        await sql.execute("UPDATE api_keys SET expires_at = NULL")
        await eventually(lambda: container.api_keys.generation > seen)
        seen = container.api_keys.generation
        await sql.execute("UPDATE api_keys SET last_used_at = now()")
        await sql.execute("UPDATE api_keys SET expires_at = NULL")
        await eventually(lambda: container.api_keys.generation > seen)
        assert container.api_keys.generation == seen + 1


class TestText:
    def test_is_known_by_prefix_form_and_checksum(self) -> None:
        made = {new_key() for _ in range(1_000)}
        assert len(made) == 1_000
        assert {len(key) for key in made} == {52}
        assert all(key.startswith("tp_") and key[3:].isalnum() and key.isascii() for key in made)
        assert all(can_be_key(key) for key in made)

    def test_the_checksum_is_that_of_anybodys_crc32(self) -> None:
        assert can_be_key("tp_" + "0" * 43 + "1WyGvW")

    @pytest.mark.parametrize("text", ["", "tp_", "tp_" + "0" * 49, "tp_" + "é" * 49, "x" * 52])
    def test_other_texts_are_none(self, text: str) -> None:
        assert not can_be_key(text)
