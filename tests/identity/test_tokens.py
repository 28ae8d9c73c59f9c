"""Tokens and keys: what is forged, foreign or out of date opens nothing."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt

from service.errors import Overloaded
from service.identity import Caller, Passwords
from service.identity.tokens import REMEMBERED_TOKENS, AccessTokens, Pseudonyms, RefreshTokens, SigningKey
from service.platform.config import Settings, generate_key
from service.platform.config.password_policy import common_passwords
from service.platform.crypto import derive, same, sign
from service.platform.database.clock import DatabaseClock
from tests.helpers.client import Api, assert_problem
from tests.helpers.clock import Clock
from tests.helpers.factories import Make, Person

SECRET = "k" * 64
INVALID = 'Bearer error="invalid_token"'


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def decoded(part: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return document


def resigned(secret: str, token: str, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """The token with other headers and claims, signed with the key of this secret; None leaves one out."""
    head, body = (decoded(part) for part in token.split(".")[:2])
    merged_head = {name: value for name, value in (head | header).items() if value is not None}
    merged_body = {name: value for name, value in (body | claims).items() if value is not None}
    return jwt.encode(merged_head, merged_body, SigningKey(secret).key)


def tampered(token: str) -> str:
    head, body, signature = token.split(".")
    return ".".join(
        (head, encoded(json.dumps(decoded(body) | {"sub": "1", "admin": True}).encode()), signature)
    )


def unsigned(token: str) -> str:
    head = encoded(b'{"alg":"none","typ":"at+jwt"}')
    return f"{head}.{token.split('.')[1]}."


def public_key_as_secret(token: str, secret: str) -> str:
    """HS256 under the public key, which a verifier that trusts `alg` would accept."""
    key = SigningKey(secret)
    head = encoded(json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": key.kid}).encode())
    signed = f"{head}.{token.split('.')[1]}"
    return f"{signed}.{encoded(hmac.digest(key.key.as_pem(private=False), signed.encode(), 'sha256'))}"


def assert_void(answer: httpx2.Response) -> None:
    assert_problem(answer, 401, "invalid_token")
    assert answer.headers["www-authenticate"] == INVALID


#: Constants, so that every test process collects the same tests.
LONG_AGO, FAR_AHEAD = 1_000_000_000, 9_000_000_000


class TestForgedTokens:
    """Each is refused by the application, on a public route too."""

    @pytest.fixture
    async def maria(self, make: Make) -> Person:
        return await make.user()

    @pytest.fixture
    def secret(self, settings: Settings) -> str:
        return settings.secret_key.get_secret_value()

    async def refused(self, api: Api, token: str) -> None:
        client = api.signed_in(token)
        assert_void(await client.get("/users/profile"))
        assert_void(await client.get("/posts"))

    async def test_one_signed_again_unchanged_is_good(self, api: Api, maria: Person, secret: str) -> None:
        """So that those below are refused for their one difference, and for nothing else."""
        token = resigned(secret, maria.token, {}, {})
        assert (await api.signed_in(token).get("/users/profile")).status_code == 200

    @pytest.mark.parametrize(
        "forged",
        [
            tampered,
            unsigned,
            lambda token: token[:-8] + "AAAAAAAA",
            lambda token: token.rpartition(".")[0] + ".",
            lambda token: token.rpartition(".")[0],
            lambda token: token + ".x",
            lambda token: "x" * 100,
            lambda token: "",
        ],
        ids=[
            "tampered",
            "alg none",
            "signature",
            "no signature",
            "two parts",
            "four parts",
            "noise",
            "empty",
        ],
    )
    async def test_forged(self, api: Api, maria: Person, forged: Callable[[str], str]) -> None:
        await self.refused(api, forged(maria.token))

    async def test_under_the_public_key(self, api: Api, maria: Person, secret: str) -> None:
        await self.refused(api, public_key_as_secret(maria.token, secret))

    async def test_of_another_installation(self, api: Api, maria: Person) -> None:
        foreign = generate_key()
        await self.refused(api, resigned(foreign, maria.token, {"kid": SigningKey(foreign).kid}, {}))
        await self.refused(api, resigned(foreign, maria.token, {}, {}))

    @pytest.mark.parametrize(
        ("header", "claims"),
        [
            ({"typ": "JWT"}, {}),
            ({"typ": None}, {}),
            ({"kid": None}, {}),
            ({}, {"iss": "https://elsewhere.example"}),
            ({}, {"iss": None}),
            ({}, {"aud": "elsewhere"}),
            ({}, {"aud": None}),
            ({}, {"exp": LONG_AGO}),
            ({}, {"exp": None}),
            ({}, {"exp": "soon"}),
            ({}, {"sub": None}),
            ({}, {"sub": "maria"}),
            ({}, {"sid": None}),
            ({}, {"nbf": FAR_AHEAD}),
        ],
        ids=str,
    )
    async def test_out_of_order(
        self, api: Api, maria: Person, secret: str, header: dict[str, Any], claims: dict[str, Any]
    ) -> None:
        await self.refused(api, resigned(secret, maria.token, header, claims))

    @pytest.mark.parametrize(
        "authorization",
        [
            "Basic bWFyaWE6eA==",
            "Bearer",
            "Bearer ",
            "bearer x.y.z",
            "Token abc",
            "",
            "Bearer \u00e9.\u00e9.\u00e9",
        ],
    )
    async def test_other_credentials(self, api: Api, authorization: str) -> None:
        headers = {b"Authorization": authorization.encode("latin-1")}
        assert_void(await api.get("/users/profile", headers=headers))
        assert_void(await api.get("/posts", headers=headers))

    async def test_the_scheme_is_the_same_in_any_case(self, api: Api, maria: Person) -> None:
        answer = await api.get("/users/profile", headers={"Authorization": f"bEARER {maria.token}"})
        assert answer.status_code == 200


class TestAccessTokens:
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def tokens(self, clock: Clock) -> AccessTokens:
        return AccessTokens(SECRET, (), issuer="issuer", audience="audience", clock=clock)

    @pytest.mark.parametrize(
        "head",
        [
            b"",
            b"\0",
            b"\xff\xfe",
            b"[]",
            b"1",
            b"null",
            b'"x"',
            b"[" * 50_000,
            b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
            b'{"alg":' + b"9" * 5_000 + b"}",
            b'{"alg":[],"kid":"x"}',
            b'{"alg":"ES256","kid":[1]}',
            b'{"alg":"ES256","kid":{}}',
            b'{"alg":"ES256","crit":["x"],"kid":"x"}',
            b'{"alg":"dir","enc":"A128GCM","kid":"x"}',
        ],
        ids=lambda head: repr(head[:24]),
    )
    def test_what_cannot_be_read_is_nobodys(self, tokens: AccessTokens, head: bytes) -> None:
        for rest in ("", ".e30.AAAA", ".e.e.e.e", ".."):
            assert tokens.verify(encoded(head) + rest) is None

    def test_a_verified_token_is_remembered_until_it_ends(
        self, tokens: AccessTokens, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        caller = Caller(1, 2, is_admin=True)
        token = tokens.issue(caller, client_id="tests")
        assert tokens.verify(token) == caller

        def unread(token: str) -> dict[str, Any]:
            raise ValueError

        monkeypatch.setattr(tokens, "_claims", unread)
        assert tokens.verify(token) == caller
        clock.now += 601
        assert tokens.verify(token) is None

    @pytest.mark.parametrize("remembered", [True, False])
    def test_clocks_may_differ_by_half_a_minute_and_no_more(
        self, tokens: AccessTokens, clock: Clock, remembered: bool
    ) -> None:
        token, now = tokens.issue(Caller(1, 2, is_admin=False), client_id="tests"), clock.now
        if remembered:
            assert tokens.verify(token) is not None
        for seconds, good in ((599, True), (628, True), (632, False), (599, True), (632, False)):
            clock.now = now + seconds
            assert (tokens.verify(token) is not None) is good

    def test_a_step_of_the_machines_clock_neither_ends_nor_prolongs_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What has lost access is remembered for so long as a token lasts, and no longer."""
        clock, caller = DatabaseClock(), Caller(1, 2, is_admin=False)
        names = {"issuer": "issuer", "audience": "audience"}
        here, elsewhere = (AccessTokens(SECRET, (), **names, clock=clock) for _ in range(2))
        token, now = here.issue(caller, client_id="tests"), time.time()
        assert here.verify(token) == caller
        for step in (3600, -3600):
            monkeypatch.setattr(time, "time", lambda stepped=now + step: stepped)
            assert here.verify(token) == elsewhere.verify(token) == caller
            assert 595 < here.seconds_left(token) <= 600
            again = here.issue(caller, client_id="tests")
            assert 595 < elsewhere.seconds_left(again) <= 600
        started = DatabaseClock()  # by the machine's clock, until the database has said its own
        assert abs(started() - (now - 3600)) < 60
        started.set(now, at=time.monotonic())
        assert AccessTokens(SECRET, (), **names, clock=started).verify(token) == caller
        started.set(now + 3600, at=time.monotonic())
        assert AccessTokens(SECRET, (), **names, clock=started).verify(token) is None

    def test_only_so_many_are_remembered(
        self, tokens: AccessTokens, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claims = {"sub": "1", "sid": "2", "admin": False, "exp": clock.now + 600}
        monkeypatch.setattr(tokens, "_claims", lambda token: claims)
        for number in range(REMEMBERED_TOKENS + 10):
            assert tokens.verify(str(number)) == Caller(1, 2, is_admin=False)
        assert len(tokens._verified) == REMEMBERED_TOKENS
        assert next(iter(tokens._verified)) == "10"

    def test_the_public_keys_have_no_private_part(self) -> None:
        tokens = AccessTokens(SECRET, ("o" * 64,), issuer="issuer", audience="audience", clock=Clock())
        assert [sorted(key) for key in tokens.jwks["keys"]] == [
            ["alg", "crv", "kid", "kty", "use", "x", "y"]
        ] * 2
        assert [key["kid"] for key in tokens.jwks["keys"]] == [
            SigningKey(SECRET).kid,
            SigningKey("o" * 64).kid,
        ]

    async def test_they_are_served_to_anonymous_callers(self, api: Api, settings: Settings) -> None:
        answer = await api.root("/.well-known/jwks.json")
        key = SigningKey(settings.secret_key.get_secret_value())
        assert (answer.status_code, answer.json()) == (200, {"keys": [key.public]})
        assert answer.headers["cache-control"] == "public, max-age=300"


class TestRefreshTokens:
    tokens = RefreshTokens(SECRET, ("o" * 64,))

    def test_each_has_one_successor_a_key_for_ever(self) -> None:
        token = self.tokens.first()
        assert self.tokens.successors(token) == RefreshTokens(SECRET, ("o" * 64,)).successors(token)
        signing, accepted = self.tokens.successors(token)
        assert RefreshTokens("o" * 64, ()).successors(token) == (accepted,)
        key = derive(SECRET, "refresh-token")
        assert signing == encoded(hmac.digest(key, token.encode(), "sha256"))

    def test_all_differ_and_have_256_bits(self) -> None:
        firsts = [self.tokens.first() for _ in range(20)]
        family = {token for first in firsts for token in (first, *self.tokens.successors(first))}
        assert len(family) == 60
        assert {len(base64.urlsafe_b64decode(token + "=")) for token in family} == {32}


class TestPseudonyms:
    def test_stand_for_an_address_in_any_case_under_this_key_alone(self) -> None:
        name = Pseudonyms(SECRET).of("Maria@Shop.example")
        assert name == Pseudonyms(SECRET).of("maria@shop.EXAMPLE")
        assert (
            len(
                {
                    name,
                    Pseudonyms(SECRET).of("mario@shop.example"),
                    Pseudonyms("o" * 64).of("maria@shop.example"),
                }
            )
            == 3
        )


class TestSigningKey:
    def test_is_the_same_in_every_process(self) -> None:
        assert SigningKey(SECRET).public == SigningKey(SECRET).public
        assert SigningKey(SECRET).kid != SigningKey(SECRET + "x").kid

    def test_its_id_is_the_thumbprint_of_rfc_7638(self) -> None:
        public = SigningKey(SECRET).public
        required = {name: public[name] for name in ("crv", "kty", "x", "y")}
        text = json.dumps(required, separators=(",", ":"), sort_keys=True)
        assert public["kid"] == encoded(hashlib.sha256(text.encode()).digest())

    def test_is_on_the_curve(self) -> None:
        key = SigningKey(SECRET).key
        assert key.private_key is not None
        assert isinstance(key.private_key.curve, ec.SECP256R1)


class TestDerivedKeys:
    def test_each_use_has_its_own(self) -> None:
        assert len({derive(SECRET, label) for label in ("cursors", "access-token-signing", "x")}) == 3
        assert derive(SECRET, "cursors") != derive(SECRET + "x", "cursors")
        assert [len(derive(SECRET, "x", length)) for length in (16, 32, 48)] == [16, 32, 48]

    def test_signatures_are_short_macs(self) -> None:
        signature = sign(b"key", b"message")
        assert signature == hmac.digest(b"key", b"message", "sha256")[:16]
        assert same(signature, sign(b"key", b"message"))
        assert not same(signature, sign(b"key", b"Message"))


class TestPasswords:
    @pytest.fixture
    def passwords(self) -> Passwords:
        return Passwords()

    async def test_a_hash_verifies_its_password_alone(self, passwords: Passwords) -> None:
        stored = await passwords.hash("Northwind1")
        assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert stored != await passwords.hash("Northwind1")
        assert [await passwords.verify(stored, text) for text in ("Northwind1", "northwind1", "")] == [
            True,
            False,
            False,
        ]

    async def test_without_a_usable_hash_nothing_is_good(self, passwords: Passwords) -> None:
        assert [await passwords.verify(stored, "x") for stored in (None, "", "!", "$argon2id$x")] == [
            False
        ] * 4

    async def test_a_queue_that_is_full_refuses(
        self, passwords: Passwords, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(passwords, "QUEUE", 0)
        with pytest.raises(Overloaded):
            await passwords.hash("Northwind1")
        assert passwords._waiting == 0

    def test_the_common_ones_are_those_that_other_rules_let_through(self) -> None:
        common = common_passwords()
        assert {"password1", "abcd1234"} <= common
        assert all(len(word) >= 8 and any(map(str.isdigit, word)) for word in common)
        assert all(word == word.lower() for word in common)
