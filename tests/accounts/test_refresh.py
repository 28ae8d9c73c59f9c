"""Refresh tokens: rotation, its grace, and the end of a session whose token is stolen or too old."""

import asyncio
import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.accounts.test_sign_in import assert_refused
from tests.helpers.client import Api
from tests.helpers.factories import PASSWORD, Make, Person
from tests.helpers.identity import (
    NOT_GOOD,
    audited,
    counted,
    counted_since,
    last_entry,
    refresh,
    revoke,
    rotated,
    sign_in,
    until_void,
)
from tests.helpers.waiting import until_blocked

ALL_TOKENS = "SELECT hash, session_id, created_at, rotated_at FROM refresh_tokens ORDER BY hash"


async def claims(api: Api, token: str) -> dict[str, Any]:
    keys = KeySet.import_key_set((await api.root("/.well-known/jwks.json")).json())
    found: dict[str, Any] = jwt.decode(token, keys, algorithms=["ES256"]).claims
    return found


async def newest_session(sql: asyncpg.Connection) -> int:
    session_id: int = await sql.fetchval("SELECT max(id) FROM sessions")
    return session_id


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


class TestRefreshing:
    async def test_gives_a_new_pair_for_the_same_session(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        first = await sign_in(api, maria)
        await sql.execute("UPDATE sessions SET last_used_at = now() - interval '1 day'")
        before = counted()
        answer = await refresh(api, first["refresh_token"])
        second = answer.json()
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert (second["token_type"], second["expires_in"]) == ("Bearer", 600)
        assert set(second) == {"access_token", "token_type", "expires_in", "refresh_token"}
        assert second["refresh_token"] != first["refresh_token"]
        old, new = [await claims(api, each["access_token"]) for each in (first, second)]
        assert new.pop("jti") != old.pop("jti")
        assert {**new, "iat": 0, "exp": 0} == {**old, "iat": 0, "exp": 0}
        assert new["exp"] - new["iat"] == 600
        profile = await api.signed_in(second["access_token"]).get("/users/profile")
        assert (profile.status_code, profile.json()["id"]) == (200, maria.id)
        used_again = "SELECT last_used_at > now() - interval '1 minute' FROM sessions WHERE id = $1"
        assert await sql.fetchval(used_again, int(new["sid"])) is True
        assert counted_since(before) == {"token_refreshes.rotated": 1}

    async def test_a_token_has_256_bits_and_is_stored_as_its_hash_alone(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        first = (await sign_in(api, maria))["refresh_token"]
        second = await rotated(api, first)
        assert [len(base64.b64decode(token + "=", b"-_", validate=True)) for token in (first, second)] == [
            32
        ] * 2
        rows = {row["hash"]: row["rotated_at"] for row in await sql.fetch(ALL_TOKENS)}
        hashes = [hashlib.sha256(token.encode()).digest() for token in (first, second)]
        assert set(rows) == set(hashes)
        assert [rows[each] is None for each in hashes] == [False, True]

    async def test_each_successor_is_good(self, api: Api, maria: Person) -> None:
        tokens = [(await sign_in(api, maria))["refresh_token"]]
        for _ in range(5):
            tokens.append(await rotated(api, tokens[-1]))
        assert len(set(tokens)) == 6

    async def test_a_new_token_says_who_administers_now(self, api: Api, make: Make, maria: Person) -> None:
        ada = await make.admin()
        token = (await sign_in(api, maria))["refresh_token"]
        for is_admin in (True, False):
            await ada.api.patch(f"/admin/users/{maria.id}", json={"is_admin": is_admin})
            answer = (await refresh(api, token)).json()
            token = answer["refresh_token"]
            assert (await claims(api, answer["access_token"]))["admin"] is is_admin

    async def test_the_client_may_name_itself_and_a_scope(self, api: Api, maria: Person) -> None:
        token = (await sign_in(api, maria))["refresh_token"]
        answer = await refresh(api, token, client_id="till", scope="everything", audience="x")
        assert (await claims(api, answer.json()["access_token"]))["client_id"] == "till"
        assert "scope" not in answer.json()

    async def test_a_bad_access_token_beside_it_does_not_matter(self, api: Api, maria: Person) -> None:
        """Clients send the one that has just expired."""
        token = (await sign_in(api, maria))["refresh_token"]
        assert (await refresh(api.signed_in("x.y.z"), token)).status_code == 200

    @pytest.mark.parametrize("form", [{}, {"refresh_token": ""}, {"password": "x", "username": "x"}], ids=str)
    async def test_a_missing_token_is_named(self, api: Api, form: dict[str, str]) -> None:
        answer = await api.post("/auth/token", data={"grant_type": "refresh_token", **form})
        assert (
            assert_refused(answer, "invalid_request")["error_description"]
            == "refresh_token is missing: send the last one that you received."
        )

    @pytest.mark.parametrize("token", ["x", "\0", "\u738b", "x" * 100_000, "a.b.c", " "], ids=lambda t: t[:5])
    async def test_what_is_no_token_is_refused(self, api: Api, maria: Person, token: str) -> None:
        assert assert_refused(await refresh(api, token), "invalid_grant") == NOT_GOOD

    async def test_an_access_token_is_no_refresh_token(self, api: Api, maria: Person) -> None:
        assert assert_refused(await refresh(api, maria.token), "invalid_grant") == NOT_GOOD


ROTATED = "UPDATE refresh_tokens SET rotated_at = rotated_at - interval '{}'"
USED = "UPDATE sessions SET last_used_at = last_used_at - interval '{}'"
BEGAN = "UPDATE sessions SET created_at = created_at - interval '{}'"


@dataclass(frozen=True)
class Case:
    """A session whose token is first used `uses` times in a row; then `meanwhile` happens to it, by SQL or
    by a revocation; then the token of that `turn` comes again.
    """

    name: str
    uses: int = 0
    turn: int = 0
    meanwhile: str = ""
    revoked: bool = False
    #: What it yields: the newest token there is, a new one, or a refusal.
    yields: str = "refusal"
    ends: bool = False
    audited: tuple[str, ...] = ()
    counted: dict[str, float] = field(default_factory=lambda: {"token_refreshes.refused": 1})


GOOD: dict[str, float] = {"token_refreshes.rotated": 1}
THEFT: dict[str, Any] = {
    "ends": True, "audited": ("token.reuse_detected",), "counted": {"token_refreshes.reused": 1}
}  # fmt: skip
CASES = (
    Case("for the first time", yields="new", counted=GOOD),
    Case("grace: again at once", uses=1, yields="newest", counted=GOOD),
    Case("grace: again after 19 seconds", 1, meanwhile=ROTATED.format("19 s"), yields="newest", counted=GOOD),
    Case("grace: its successor has been used too", 2, turn=0, yields="newest", counted=GOOD),
    Case("grace: in the middle of a family", 3, turn=1, yields="newest", counted=GOOD),
    Case("theft: again after 20 seconds", 1, meanwhile=ROTATED.format("20 s"), **THEFT),
    Case("theft: again after days", 1, meanwhile=ROTATED.format("9 days"), **THEFT),
    Case("theft: the first of many", 4, turn=0, meanwhile=ROTATED.format("1 hour"), **THEFT),
    Case(
        "expiry: idle for almost 14 days", meanwhile=USED.format("13 days 23:59"), yields="new", counted=GOOD
    ),
    Case("expiry: idle for 14 days", meanwhile=USED.format("14 days")),
    Case("expiry: almost 90 days old", meanwhile=BEGAN.format("89 days 23:59"), yields="new", counted=GOOD),
    Case("expiry: 90 days old, used just now", 1, turn=1, meanwhile=BEGAN.format("90 days")),
    Case("expiry: a rotated token of an idle session", 1, meanwhile=USED.format("14 days")),
    Case(
        "expiry: a stolen token of an idle session",
        1,
        meanwhile=f"{USED}; {ROTATED}".format("14 days", "1 h"),
    ),
    Case("revocation: by its token", revoked=True, audited=("session.ended",)),
    Case("revocation: a rotated token in its grace", 1, revoked=True, audited=("session.ended",)),
    Case("revocation: the session has ended", meanwhile="UPDATE sessions SET ended_at = now()"),
    Case("revocation: the account is deactivated", meanwhile="UPDATE users SET is_active = false"),
)


class TestEachUse:
    """What a token yields, leaves in the audit log, and counts as."""

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    async def test_of_a_token(self, api: Api, maria: Person, sql: asyncpg.Connection, case: Case) -> None:
        tokens = [(await sign_in(api, maria))["refresh_token"]]
        session_id = await newest_session(sql)
        for _ in range(case.uses):
            tokens.append(await rotated(api, tokens[-1]))
        last, before = await last_entry(sql), counted()
        if case.revoked:
            assert (await revoke(api, tokens[-1])).status_code == 200
        if case.meanwhile:
            await sql.execute(case.meanwhile)
        stored = await sql.fetch(ALL_TOKENS)
        ended = await sql.fetchval("SELECT ended_at FROM sessions WHERE id = $1", session_id)

        answer = await refresh(api, tokens[case.turn])

        if case.yields == "refusal":
            assert assert_refused(answer, "invalid_grant") == NOT_GOOD
            assert await sql.fetch(ALL_TOKENS) == stored
        else:
            assert answer.status_code == 200
            successor = answer.json()["refresh_token"]
            assert (successor in tokens) == (case.yields == "newest")
            assert len(await sql.fetch(ALL_TOKENS)) == len({*tokens, successor})
            if case.yields == "newest":
                assert successor == tokens[-1]
                assert await sql.fetch(ALL_TOKENS) == stored
        if case.ends:
            assert ended is None
            assert await sql.fetchval("SELECT ended_at IS NOT NULL FROM sessions WHERE id = $1", session_id)
        else:
            assert await sql.fetchval("SELECT ended_at FROM sessions WHERE id = $1", session_id) == ended
        entries = await audited(sql, last)
        assert tuple(entry[0] for entry in entries) == case.audited
        assert all(entry[2:4] == ("session", session_id) for entry in entries)
        assert counted_since(before) == case.counted


class TestTheft:
    async def test_nothing_of_the_family_is_good_any_more(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        first, other = await sign_in(api, maria), await sign_in(api, maria)
        second = (await refresh(api, first["refresh_token"])).json()
        await sql.execute(ROTATED.format("1 hour"))
        last = await last_entry(sql)
        assert assert_refused(await refresh(api, first["refresh_token"]), "invalid_grant") == NOT_GOOD
        for token in (first["refresh_token"], second["refresh_token"]):
            assert assert_refused(await refresh(api, token), "invalid_grant") == NOT_GOOD
        for tokens in (first, second):
            await until_void(api.signed_in(tokens["access_token"]))
        session_id = int((await claims(api, first["access_token"]))["sid"])
        assert await audited(sql, last) == [
            ("token.reuse_detected", None, "session", session_id, {"user_id": maria.id})
        ]
        assert (await refresh(api, other["refresh_token"])).status_code == 200
        assert (await api.signed_in(other["access_token"]).get("/users/profile")).status_code == 200

    async def test_uses_in_the_grace_do_not_make_it_longer(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        token = (await sign_in(api, maria))["refresh_token"]
        successor = await rotated(api, token)
        for _ in range(2):
            await sql.execute(ROTATED.format("9 s"))
            assert await rotated(api, token) == successor
        await sql.execute(ROTATED.format("2 s"))
        assert_refused(await refresh(api, token), "invalid_grant")
        assert_refused(await refresh(api, successor), "invalid_grant")


class TestConcurrency:
    async def twenty(self, api: Api, token: str) -> list[httpx2.Response]:
        return await asyncio.gather(*(refresh(api, token) for _ in range(20)))

    async def test_inside_the_grace_all_get_one_successor(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        token = (await sign_in(api, maria))["refresh_token"]
        last, before = await last_entry(sql), counted()
        answers = await self.twenty(api, token)
        assert [answer.status_code for answer in answers] == [200] * 20
        (successor,) = {answer.json()["refresh_token"] for answer in answers}
        assert len({answer.json()["access_token"] for answer in answers}) == 20
        assert len(await sql.fetch(ALL_TOKENS)) == 2
        assert (await audited(sql, last), counted_since(before)) == ([], {"token_refreshes.rotated": 20})
        assert (await refresh(api, successor)).status_code == 200

    async def test_outside_of_it_the_family_ends_exactly_once(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        token = (await sign_in(api, maria))["refresh_token"]
        successor = await rotated(api, token)
        await sql.execute(ROTATED.format("20 s"))
        stored, last, before = await sql.fetch(ALL_TOKENS), await last_entry(sql), counted()
        answers = await self.twenty(api, token)
        assert [assert_refused(answer, "invalid_grant") for answer in answers] == [NOT_GOOD] * 20
        assert await sql.fetch(ALL_TOKENS) == stored
        session_id = await newest_session(sql)
        assert await audited(sql, last) == [
            ("token.reuse_detected", None, "session", session_id, {"user_id": maria.id})
        ]
        assert counted_since(before) == {"token_refreshes.reused": 1, "token_refreshes.refused": 19}
        assert assert_refused(await refresh(api, successor), "invalid_grant") == NOT_GOOD

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ("ended_at = now()", 400),
            ("last_used_at = now() - interval '14 days'", 400),
            ("client = 'till'", 200),
        ],
    )
    async def test_what_happens_to_the_session_while_a_use_waits_for_it_counts(
        self, api: Api, maria: Person, sql: asyncpg.Connection, change: str, status: int
    ) -> None:
        token = (await sign_in(api, maria))["refresh_token"]
        async with sql.transaction():
            await sql.execute(f"UPDATE sessions SET {change}")
            running = asyncio.create_task(refresh(api, token))
            await until_blocked(sql)
        assert (await running).status_code == status
        assert len(await sql.fetch(ALL_TOKENS)) == (2 if status == 200 else 1)

    async def test_a_rotation_that_is_undone_is_made_again_by_who_waits(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        token = (await sign_in(api, maria))["refresh_token"]
        transaction = sql.transaction()
        await transaction.start()
        await sql.execute("UPDATE refresh_tokens SET rotated_at = now() - interval '1 hour'")
        running = asyncio.create_task(refresh(api, token))
        await until_blocked(sql)
        await transaction.rollback()
        assert (await running).status_code == 200
        assert len(await sql.fetch(ALL_TOKENS)) == 2

    async def test_a_rotation_that_is_committed_meanwhile_is_seen(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        token = (await sign_in(api, maria))["refresh_token"]
        async with sql.transaction():
            await sql.execute("UPDATE refresh_tokens SET rotated_at = now() - interval '1 hour'")
            running = asyncio.create_task(refresh(api, token))
            await until_blocked(sql)
        assert assert_refused(await running, "invalid_grant") == NOT_GOOD
        assert await sql.fetchval("SELECT action FROM audit_log ORDER BY id DESC") == "token.reuse_detected"


class TestOtherWaysToEnd:
    async def test_deactivation(self, api: Api, make: Make, maria: Person) -> None:
        token, ada = (await sign_in(api, maria))["refresh_token"], await make.admin()
        for is_active in (False, True):
            await ada.api.patch(f"/admin/users/{maria.id}", json={"is_active": is_active})
            assert assert_refused(await refresh(api, token), "invalid_grant") == NOT_GOOD

    async def test_a_changed_password_leaves_its_own_session_alone(self, api: Api, maria: Person) -> None:
        other, own = await sign_in(api, maria), await sign_in(api, maria)
        change = {"current_password": PASSWORD, "new_password": "battery-staple-2"}
        client = api.signed_in(own["access_token"])
        assert (await client.post("/users/profile/password", json=change)).status_code == 204
        assert assert_refused(await refresh(api, other["refresh_token"]), "invalid_grant") == NOT_GOOD
        assert (await refresh(api, own["refresh_token"])).status_code == 200


class TestAuditOfSigningIn:
    async def test_success_names_the_user_and_the_session(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        last, before = await last_entry(sql), counted()
        await sign_in(api, maria)
        session_id = await newest_session(sql)
        assert await audited(sql, last) == [("session.started", maria.id, "session", session_id, {})]
        assert counted_since(before) == {"sign_ins.succeeded": 1}

    async def test_a_refusal_names_the_user_by_a_keyed_hash_alone(
        self, api: Api, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria = await make.user(email="Maria@shop.example")
        last, before = await last_entry(sql), counted()
        for email in ("maria@SHOP.example", "nobody@shop.example"):
            assert_refused(await api.token(email, "wrong-horse-1"), "invalid_grant")
        known, unknown = await audited(sql, last)
        assert known[:4] == ("session.refused", None, "user", maria.id)
        assert unknown[:4] == ("session.refused", None, None, None)
        people = [entry[4].pop("person") for entry in (known, unknown)]
        assert [(len(person), entry[4]) for person, entry in zip(people, (known, unknown), strict=True)] == [
            (64, {})
        ] * 2
        assert people[0] != people[1]
        assert hashlib.sha256(b"maria@shop.example").hexdigest() not in people
        assert_refused(await api.token(maria.email, "wrong-horse-2"), "invalid_grant")
        assert (await audited(sql, last))[-1][4] == {"person": people[0]}
        assert counted_since(before) == {"sign_ins.refused": 3}

    async def test_what_is_no_request_leaves_nothing(self, api: Api, sql: asyncpg.Connection) -> None:
        last, before = await last_entry(sql), counted()
        assert_refused(await api.post("/auth/token", data={"grant_type": "password"}), "invalid_request")
        assert_refused(await api.post("/auth/token", data={"grant_type": "refresh_token"}), "invalid_request")
        assert (await audited(sql, last), counted_since(before)) == ([], {})
