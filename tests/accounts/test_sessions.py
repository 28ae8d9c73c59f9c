"""Where one is signed in: listing, ending and revoking, and the metadata by which clients find the routes."""

from datetime import timedelta
from typing import Any

import asyncpg
import httpx2
import pytest

from service.accounts.sign_in import repository
from service.platform.config import Settings
from tests.accounts.test_sign_in import assert_refused
from tests.helpers.application import app_of
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.identity import (
    NOT_GOOD,
    audited,
    last_entry,
    refresh,
    revoke,
    rotated,
    sign_in,
    until_void,
)

ENDED = "SELECT id FROM sessions WHERE ended_at IS NOT NULL ORDER BY id"


async def ended(sql: asyncpg.Connection) -> list[int]:
    return [row["id"] for row in await sql.fetch(ENDED)]


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


class TestList:
    async def test_shows_ones_live_sessions_newest_first(
        self, api: Api, make: Make, maria: Person, sql: asyncpg.Connection
    ) -> None:
        other = await make.user()
        form = {"grant_type": "password", "username": maria.email, "password": "correct-horse-1"}
        await api.post("/auth/token", data=form, headers={"User-Agent": "till/1.0"})
        await api.post("/auth/token", data=form, headers={"User-Agent": ""})
        answer = await maria.api.get("/auth/sessions")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, no-store")
        shown = answer.json()
        assert [(each["client"], each["current"]) for each in shown] == [
            (None, False), ("till/1.0", False), ("tests", True)
        ]  # fmt: skip
        assert shown[2]["id"] == maria.caller.session_id
        assert [each["id"] for each in (await other.api.get("/auth/sessions")).json()] == [
            other.caller.session_id
        ]
        assert all(set(each) == {"id", "created_at", "last_used_at", "client", "current"} for each in shown)
        stored = await sql.fetchrow("SELECT * FROM sessions WHERE id = $1", shown[1]["id"])
        assert stored is not None
        for name in ("created_at", "last_used_at"):
            assert shown[1][name] == stored[name].isoformat().replace("+00:00", "Z")

    @pytest.mark.parametrize(
        ("change", "shown"),
        [
            ("ended_at = now()", False),
            ("last_used_at = now() - interval '14 days'", False),
            ("created_at = now() - interval '90 days'", False),
            ("last_used_at = now() - interval '13 days', created_at = now() - interval '89 days'", True),
        ],
    )
    async def test_those_that_are_over_are_not_shown(
        self, api: Api, maria: Person, sql: asyncpg.Connection, change: str, shown: bool
    ) -> None:
        await sign_in(api, maria)
        await sql.execute(f"UPDATE sessions SET {change} WHERE id <> $1", maria.caller.session_id)
        listed = (await maria.api.get("/auth/sessions")).json()
        assert [each["current"] for each in listed] == ([False, True] if shown else [True])

    async def test_a_refresh_is_a_use_of_the_same_session(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        tokens = await sign_in(api, maria)
        await sql.execute("UPDATE sessions SET last_used_at = now() - interval '1 day'")
        before = (await maria.api.get("/auth/sessions")).json()
        await rotated(api, tokens["refresh_token"])
        after = (await maria.api.get("/auth/sessions")).json()
        assert [each["id"] for each in after] == [each["id"] for each in before]
        assert after[0].pop("last_used_at") > before[0].pop("last_used_at")
        assert after == before

    async def test_has_pages(self, api: Api, maria: Person) -> None:
        for _ in range(2):
            await sign_in(api, maria)
        everything = (await maria.api.get("/auth/sessions")).json()
        seen: list[dict[str, Any]] = []
        url: str | None = "/api/v1/auth/sessions?limit=1"
        while url:
            answer = await maria.api.get(f"http://shop.test{url}")
            seen += answer.json()
            link = answer.headers.get("link", "")
            url = link.partition(">")[0].removeprefix("<") if link else None
        assert seen == everything
        assert len(seen) == 3

    async def test_needs_a_token(self, api: Api) -> None:
        assert_problem(await api.get("/auth/sessions"), 401, "unauthenticated")
        assert_problem(await api.signed_in("x.y.z").get("/auth/sessions"), 401, "invalid_token")

    async def test_unknown_parameters_are_refused(self, maria: Person) -> None:
        assert_problem(await maria.api.get("/auth/sessions?all=1"), 422, "invalid_input", "?all")


class TestEndOne:
    async def test_ends_it_and_its_tokens_alone(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        tokens = await sign_in(api, maria)
        newest = (await maria.api.get("/auth/sessions")).json()[0]["id"]
        last = await last_entry(sql)
        answer = await maria.api.delete(f"/auth/sessions/{newest}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert await ended(sql) == [newest]
        await until_void(api.signed_in(tokens["access_token"]))
        assert assert_refused(await refresh(api, tokens["refresh_token"]), "invalid_grant") == NOT_GOOD
        assert (await maria.api.get("/users/profile")).status_code == 200
        assert await audited(sql, last) == [("session.ended", maria.id, "session", newest, {})]

    async def test_the_current_one(self, maria: Person, sql: asyncpg.Connection) -> None:
        answer = await maria.api.delete(f"/auth/sessions/{maria.caller.session_id}")
        assert answer.status_code == 204
        await until_void(maria.api)

    async def test_anothers_or_none_or_one_that_has_ended_is_not_found(
        self, make: Make, maria: Person, sql: asyncpg.Connection
    ) -> None:
        admin = await make.admin()
        await sql.execute("INSERT INTO sessions (user_id, ended_at) VALUES ($1, now())", maria.id)
        gone = await sql.fetchval("SELECT max(id) FROM sessions")
        before, last = await ended(sql), await last_entry(sql)
        for person, session_id in (
            (admin, maria.caller.session_id),
            (maria, admin.caller.session_id),
            (maria, 2**63 - 1),
            (maria, gone),
        ):
            assert_problem(await person.api.delete(f"/auth/sessions/{session_id}"), 404, "not_found")
        assert (await ended(sql), await audited(sql, last)) == (before, [])

    @pytest.mark.parametrize("session_id", ["0", "-1", "x", str(2**63)])
    async def test_what_is_no_id_is_refused(self, maria: Person, session_id: str) -> None:
        answer = await maria.api.delete(f"/auth/sessions/{session_id}")
        assert_problem(answer, 422, "invalid_input", "{session_id}")

    async def test_needs_a_token(self, api: Api, maria: Person, sql: asyncpg.Connection) -> None:
        answer = await api.delete(f"/auth/sessions/{maria.caller.session_id}")
        assert_problem(answer, 401, "unauthenticated")
        assert await ended(sql) == []


class TestEndAll:
    async def test_ends_every_one_of_ones_own(
        self, api: Api, make: Make, maria: Person, sql: asyncpg.Connection
    ) -> None:
        other, tokens = await make.user(), await sign_in(api, maria)
        own = [each["id"] for each in (await maria.api.get("/auth/sessions")).json()]
        last = await last_entry(sql)
        answer = await maria.api.delete("/auth/sessions")
        assert (answer.status_code, answer.content) == (204, b"")
        assert await ended(sql) == sorted(own)
        await until_void(maria.api)
        await until_void(api.signed_in(tokens["access_token"]))
        assert assert_refused(await refresh(api, tokens["refresh_token"]), "invalid_grant") == NOT_GOOD
        assert (await other.api.get("/users/profile")).status_code == 200
        assert await audited(sql, last) == [
            ("session.ended", maria.id, "user", maria.id, {"sessions": sorted(own)})
        ]

    async def test_needs_a_token(self, api: Api, maria: Person, sql: asyncpg.Connection) -> None:
        assert_problem(await api.delete("/auth/sessions"), 401, "unauthenticated")
        assert await ended(sql) == []


def assert_done(answer: httpx2.Response) -> None:
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["cache-control"] == "private, no-store"


class TestRevoke:
    @pytest.mark.parametrize("kind", ["refresh_token", "access_token", "rotated"])
    @pytest.mark.parametrize(
        "hint", [{}, {"token_type_hint": "access_token"}, {"token_type_hint": "x"}], ids=str
    )
    async def test_any_token_of_a_session_ends_it(
        self, api: Api, maria: Person, sql: asyncpg.Connection, kind: str, hint: dict[str, str]
    ) -> None:
        tokens = await sign_in(api, maria)
        session_id = (await maria.api.get("/auth/sessions")).json()[0]["id"]
        latest = tokens["refresh_token"]
        if kind == "rotated":
            latest = await rotated(api, latest)
        last = await last_entry(sql)
        assert_done(await revoke(api, tokens["refresh_token" if kind == "rotated" else kind], **hint))
        assert await ended(sql) == [session_id]
        await until_void(api.signed_in(tokens["access_token"]))
        assert assert_refused(await refresh(api, latest), "invalid_grant") == NOT_GOOD
        assert (await maria.api.get("/users/profile")).status_code == 200
        assert await audited(sql, last) == [("session.ended", maria.id, "session", session_id, {})]

    async def test_twice_is_once(self, api: Api, maria: Person, sql: asyncpg.Connection) -> None:
        token = (await sign_in(api, maria))["refresh_token"]
        assert_done(await revoke(api, token))
        last, when = await last_entry(sql), await sql.fetch("SELECT id, ended_at FROM sessions ORDER BY id")
        assert_done(await revoke(api, token))
        assert await audited(sql, last) == []
        assert await sql.fetch("SELECT id, ended_at FROM sessions ORDER BY id") == when

    @pytest.mark.parametrize(
        "token", ["x", "x.y.z", "\0", "\u738b", "x" * 100_000, " ", "tp_x"], ids=lambda token: token[:5]
    )
    async def test_what_is_no_token_has_the_same_answer(
        self, api: Api, maria: Person, sql: asyncpg.Connection, token: str
    ) -> None:
        last = await last_entry(sql)
        assert_done(await revoke(api, token))
        assert (await ended(sql), await audited(sql, last)) == ([], [])

    async def test_unknown_parameters_and_other_credentials_are_ignored(
        self, api: Api, maria: Person
    ) -> None:
        """Clients send the access token, good or not, with whatever they ask."""
        form = {"token": (await sign_in(api, maria))["refresh_token"], "client_id": "app"}
        answer = await api.signed_in("x.y.z").post("/auth/revoke?foo=bar", data=form)
        assert_done(answer)

    @pytest.mark.parametrize("form", [{}, {"token": ""}, {"token_type_hint": "access_token"}], ids=str)
    async def test_a_missing_token_is_named(self, api: Api, form: dict[str, str]) -> None:
        document = assert_refused(await api.post("/auth/revoke", data=form), "invalid_request")
        assert document["error_description"] == "/token: Required: send this field."

    async def test_other_media_types_are_415(self, api: Api, maria: Person, sql: asyncpg.Connection) -> None:
        answer = await api.post("/auth/revoke", json={"token": maria.token})
        assert_refused(answer, "invalid_request", 415)
        assert await ended(sql) == []

    async def test_other_methods_are_405(self, api: Api) -> None:
        answer = await api.get("/auth/revoke")
        assert_refused(answer, "invalid_request", 405)
        assert answer.headers["allow"] == "POST"


class TestMetadata:
    PATH = "/.well-known/oauth-authorization-server"

    def expected(self, base: str, issuer: str) -> dict[str, Any]:
        return {
            "issuer": issuer,
            "token_endpoint": f"{base}/api/v1/auth/token",
            "revocation_endpoint": f"{base}/api/v1/auth/revoke",
            "jwks_uri": f"{base}/.well-known/jwks.json",
            "grant_types_supported": ["password", "refresh_token"],
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "service_documentation": f"{base}/docs",
        }

    async def test_has_the_address_that_was_asked(self, api: Api) -> None:
        """And is kept by nobody: the next one would get the tokens' address from a stranger's Host."""
        answer = await api.root(self.PATH)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json() == self.expected("http://shop.test", "tradepost")

    @pytest.mark.parametrize("path", ["", "/shop"])
    async def test_has_the_public_address_where_it_is_set(self, settings: Settings, path: str) -> None:
        base = f"https://shop.example{path}"
        update = {"public_url": base, "token_issuer": base, "docs_enabled": False}
        app = app_of(settings.model_copy(update=update))
        expected = self.expected(base, base)
        del expected["service_documentation"]
        async with Api.of(app) as client:
            answer = await client.root(self.PATH, headers={"Host": "evil.example"})
            assert answer.json() == expected
            assert answer.headers["cache-control"] == "public, max-age=300"

    @pytest.mark.parametrize(
        "host", ["", "[", "x y", "\u00e9.example", "shop.example:x", "a" * 5_000, "a/b?c#d"]
    )
    async def test_a_strange_host_breaks_nothing(self, api: Api, host: str) -> None:
        answer = await api.root(self.PATH, headers={b"Host": host.encode("latin-1")})
        assert answer.status_code == 200


class TestPurge:
    """A day after a session is over it goes, with its tokens."""

    async def purge(self, make: Make, sql: asyncpg.Connection, change: str) -> tuple[int, list[int], int]:
        """How many sessions are said to be gone after the change, and how many and their tokens are left."""
        maria = await make.user()
        await rotated(make.api, (await sign_in(make.api, maria))["refresh_token"])
        await sql.execute(f"UPDATE sessions SET {change} WHERE id <> $1", maria.caller.session_id)
        async with make.container.database.transaction() as session:
            gone = await repository.purge(session, timedelta(days=1), most=10)
        rows = await sql.fetch("SELECT id <> $1 AS other FROM sessions ORDER BY id", maria.caller.session_id)
        tokens: int = await sql.fetchval("SELECT count(*) FROM refresh_tokens")
        return gone, [row["other"] for row in rows], tokens

    @pytest.mark.parametrize(
        "change",
        [
            "ended_at = now() - interval '25 hours'",
            "last_used_at = now() - interval '15 days 1 minute'",
            "created_at = now() - interval '91 days 1 minute'",
        ],
    )
    async def test_what_has_been_dead_for_long_goes(
        self, make: Make, sql: asyncpg.Connection, change: str
    ) -> None:
        assert await self.purge(make, sql, change) == (1, [False], 0)

    @pytest.mark.parametrize(
        "change",
        [
            "ended_at = now() - interval '23 hours'",
            "last_used_at = now() - interval '14 days 23 hours'",
            "created_at = now() - interval '90 days 23 hours'",
            "client = 'till'",
        ],
    )
    async def test_what_lives_or_has_only_just_died_stays(
        self, make: Make, sql: asyncpg.Connection, change: str
    ) -> None:
        assert await self.purge(make, sql, change) == (0, [False, True], 2)
