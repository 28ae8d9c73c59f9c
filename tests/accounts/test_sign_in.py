import asyncio
import time

import asyncpg
import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from service.container.api import Container
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make, Person
from tests.helpers.identity import until_answered, until_void

WRONG = {"error": "invalid_grant", "error_description": "The e-mail address or the password is wrong."}


def assert_refused(answer: httpx2.Response, error: str, status: int = 400) -> dict[str, str]:
    """The form of RFC 6749, section 5.2."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    document: dict[str, str] = answer.json()
    assert set(document) == {"error", "error_description"}
    assert document["error"] == error
    assert document["error_description"]
    assert "no-store" in answer.headers["cache-control"]
    return document


async def sessions(sql: asyncpg.Connection) -> int:
    count: int = await sql.fetchval("SELECT count(*) FROM sessions")
    return count


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user(email="Maria@Shop.example")


class TestSignIn:
    async def test_answers_with_a_bearer_token_that_works(self, api: Api, maria: Person) -> None:
        answer = await api.token(maria.email, PASSWORD)
        token = answer.json()
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        access_token, refresh_token = token.pop("access_token"), token.pop("refresh_token")
        assert token == {"token_type": "Bearer", "expires_in": 600}
        assert len(refresh_token) == 43
        profile = await api.signed_in(access_token).get("/users/profile")
        assert (profile.status_code, profile.json()["id"]) == (200, maria.id)
        assert PASSWORD not in answer.text + str(answer.headers)

    async def test_the_token_has_the_claims_of_rfc_9068(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        """Any service with the public keys can verify it, such as a gateway."""
        form = {"grant_type": "password", "username": maria.email, "password": PASSWORD, "client_id": "app"}
        token = (await api.post("/auth/token", data=form, headers={"User-Agent": "till/1.0"})).json()
        keys = KeySet.import_key_set((await api.root("/.well-known/jwks.json")).json())
        decoded = jwt.decode(token["access_token"], keys, algorithms=["ES256"])
        session = await sql.fetchrow("SELECT id, client FROM sessions ORDER BY id DESC LIMIT 1")
        claims = decoded.claims
        assert decoded.header == {"typ": "at+jwt", "alg": "ES256", "kid": keys.keys[0].kid}
        assert claims.pop("exp") - claims["iat"] == 600
        assert 0 <= time.time() - claims.pop("iat") < 60
        assert len(claims.pop("jti")) == 22
        assert session is not None
        assert session["client"] == "till/1.0"
        assert claims == {
            "iss": "tradepost",
            "aud": "tradepost",
            "sub": str(maria.id),
            "client_id": "app",
            "sid": str(session["id"]),
            "admin": False,
        }

    async def test_says_who_administers(self, api: Api, make: Make) -> None:
        ada = await make.admin()
        token = (await api.token(ada.email, PASSWORD)).json()["access_token"]
        keys = KeySet.import_key_set((await api.root("/.well-known/jwks.json")).json())
        assert jwt.decode(token, keys, algorithms=["ES256"]).claims["admin"] is True

    async def test_the_address_is_the_same_in_any_case(self, api: Api, maria: Person) -> None:
        assert (await api.token("MARIA@sHOP.EXAMPLE", PASSWORD)).status_code == 200

    async def test_a_long_name_of_a_client_is_cut(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        form = {"grant_type": "password", "username": maria.email, "password": PASSWORD}
        await api.post("/auth/token", data=form, headers={"User-Agent": "x" * 5_000})
        assert await sql.fetchval("SELECT max(length(client)) FROM sessions") == 200

    async def test_unknown_parameters_are_ignored(self, api: Api, maria: Person) -> None:
        form = {"grant_type": "password", "username": maria.email, "password": PASSWORD, "audience": "x"}
        assert (await api.post("/auth/token?foo=bar", data=form)).status_code == 200

    async def test_each_sign_in_is_a_session_of_its_own(self, api: Api, maria: Person) -> None:
        first, second = [(await api.token(maria.email, PASSWORD)).json()["access_token"] for _ in range(2)]
        assert first != second
        for token in (first, second, maria.token):
            assert (await api.signed_in(token).get("/users/profile")).status_code == 200


class TestRefusedSignIn:
    async def test_every_wrong_pair_has_the_same_answer(
        self, api: Api, make: Make, maria: Person, sql: asyncpg.Connection
    ) -> None:
        gone = await make.user(is_active=False)
        before = await sessions(sql)
        for email, password in (
            (maria.email, "wrong-horse-1"),
            (maria.email, PASSWORD + "\0"),
            (maria.email, "\ufffd" * 5_000),
            ("nobody@shop.example", PASSWORD),
            ("nul\0@shop.example", PASSWORD),
            (gone.email, PASSWORD),
        ):
            answer = await api.token(email, password)
            assert assert_refused(answer, "invalid_grant") == WRONG
            assert password not in answer.text
        assert await sessions(sql) == before

    async def test_an_account_that_does_not_exist_is_hashed_for_as_well(
        self, api: Api, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checked: list[str] = []

        def verify(stored: str, password: str) -> bool:
            checked.append(stored)
            return True

        monkeypatch.setattr(container.passwords, "_verify", verify)
        assert_refused(await api.token("nobody@shop.example", PASSWORD), "invalid_grant")
        (stored,) = checked
        assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")

    async def test_a_password_changed_while_it_was_checked_is_refused(
        self,
        api: Api,
        maria: Person,
        container: Container,
        sql: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async def match(stored: str | None, password: str) -> str:
            await sql.execute("UPDATE users SET password_hash = 'new'")
            return "normalised"

        monkeypatch.setattr(container.passwords, "match", match)
        before = await sessions(sql)
        assert assert_refused(await api.token(maria.email, PASSWORD), "invalid_grant") == WRONG
        assert await sessions(sql) == before

    @pytest.mark.parametrize(
        ("form", "error"),
        [
            ({}, "invalid_request"),
            ({"username": "a", "password": "b"}, "invalid_request"),
            ({"grant_type": "password"}, "invalid_request"),
            ({"grant_type": "password", "username": "a"}, "invalid_request"),
            ({"grant_type": "password", "password": "b"}, "invalid_request"),
            ({"grant_type": "password", "username": "", "password": "b"}, "invalid_request"),
            ({"grant_type": "password", "username": "a" * 321, "password": "b"}, "invalid_request"),
            ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
            ({"grant_type": "PASSWORD", "username": "a", "password": "b"}, "unsupported_grant_type"),
        ],
    )
    async def test_what_is_missing_or_unknown_is_named(
        self, api: Api, form: dict[str, str], error: str
    ) -> None:
        assert_refused(await api.post("/auth/token", data=form), error)

    async def test_other_media_types_are_415(self, api: Api) -> None:
        assert_refused(await api.post("/auth/token", json={"grant_type": "password"}), "invalid_request", 415)

    async def test_a_large_body_is_413(self, api: Api) -> None:
        answer = await api.post("/auth/token", data={"password": "x" * 1_048_576})
        assert_refused(answer, "invalid_request", 413)

    async def test_other_methods_are_405(self, api: Api) -> None:
        answer = await api.get("/auth/token")
        assert_refused(answer, "invalid_request", 405)
        assert answer.headers["allow"] == "POST"

    async def test_too_many_at_once_get_503_with_retry_after(
        self, api: Api, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(container.passwords, "_waiting", container.passwords.QUEUE)
        answer = await api.token("maria@shop.example", PASSWORD)
        assert_refused(answer, "temporarily_unavailable", 503)
        assert answer.headers["retry-after"] == "1"


class TestVoidTokens:
    """A token is good for as long as its account and session are. How soon is proven in tests of the feed."""

    async def test_of_a_deactivated_user(self, make: Make, maria: Person) -> None:
        assert (await maria.api.get("/users/profile")).status_code == 200
        await (await make.admin()).api.patch(f"/admin/users/{maria.id}", json={"is_active": False})
        await until_void(maria.api)

    async def test_of_an_ended_session(self, maria: Person, sql: asyncpg.Connection) -> None:
        await sql.execute("UPDATE sessions SET ended_at = now()")
        await until_void(maria.api)

    async def test_a_withdrawn_role_is_gone(self, make: Make) -> None:
        ada, grace = await make.admin(), await make.admin()
        assert (await grace.api.get("/admin/users")).status_code == 200
        await ada.api.patch(f"/admin/users/{grace.id}", json={"is_admin": False})
        assert_problem(await until_answered(grace.api, "/admin/users", 403), 403, "forbidden")
        assert (await grace.api.get("/users/profile")).status_code == 200

    async def test_a_granted_role_is_there(self, make: Make, maria: Person) -> None:
        await (await make.admin()).api.patch(f"/admin/users/{maria.id}", json={"is_admin": True})
        await until_answered(maria.api, "/admin/users", 200)


async def test_many_sign_ins_at_once_all_succeed(api: Api, maria: Person, sql: asyncpg.Connection) -> None:
    before = await sessions(sql)
    answers = await asyncio.gather(*(api.token(maria.email, PASSWORD) for _ in range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert await sessions(sql) == before + 6
