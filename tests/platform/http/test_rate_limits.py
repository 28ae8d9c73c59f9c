"""What is counted, for whom, and what the answers say.

Each test starts with nothing counted, and no time passes for the counts.
"""

from collections.abc import AsyncIterator
from ipaddress import ip_network

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY

from service.platform.config import Settings
from tests.helpers.application import app_of
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make, Person
from tests.helpers.limited import NOBODY_LISTENS, limited, stands, statuses

ELSEWHERE = {"X-Forwarded-For": "198.51.100.7"}


@pytest.fixture(scope="module")
async def application(settings: Settings) -> AsyncIterator[FastAPI]:
    """Whose clients are where X-Forwarded-For says. It keeps no answers, for those do not count."""
    here = (ip_network("127.0.0.1/32"),)
    app = app_of(settings.model_copy(update={"trusted_proxies": here, "response_cache_bytes": 0}))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user(email="maria@shop.example")


@pytest.fixture
async def shop(application: FastAPI, maria: Person) -> AsyncIterator[Api]:
    """Three requests a minute."""
    async with limited(application, rate_limit_default="3/minute") as api:
        yield api


def decided(policy: str, decision: str) -> float:
    labels = {"policy": policy, "decision": decision}
    return REGISTRY.get_sample_value("rate_limit_decisions_total", labels) or 0


class TestAnswers:
    async def test_every_one_says_what_remains(self, shop: Api) -> None:
        answers = [await shop.get("/items"), await shop.get("/items/1"), await shop.get("/users/profile")]
        assert [stands(answer) for answer in answers] == [
            (200, '"default";r=2;t=60'),
            (404, '"default";r=1;t=60'),
            (401, '"default";r=0;t=60'),
        ]
        assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"default";q=3;w=60'}

    async def test_too_many_are_429_with_retry_after(self, shop: Api, maria: Person) -> None:
        before = decided("default", "allowed"), decided("default", "refused")
        assert await statuses(shop, 3) == [200] * 3
        answer = await shop.get("/items")
        problem = assert_problem(answer, 429, "too_many_requests")
        assert problem["detail"] == "Too many requests. Try again in 61 s."
        assert answer.headers["retry-after"] == "61"
        assert stands(answer) == (429, '"default";r=0;t=61')
        assert answer.headers["ratelimit-policy"] == '"default";q=3;w=60'
        assert decided("default", "allowed") == before[0] + 3
        assert decided("default", "refused") == before[1] + 1

    async def test_what_is_refused_changes_nothing(
        self, shop: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        me = shop.signed_in(maria.token)
        assert await statuses(me, 3) == [200] * 3
        answer = await me.patch("/users/profile", json={"full_name": "Ana"})
        assert_problem(answer, 429, "too_many_requests")
        assert await sql.fetchval("SELECT full_name FROM users") == "Maria Anders"

    async def test_every_method_and_refusal_counts(self, shop: Api, maria: Person) -> None:
        assert stands(await shop.request("HEAD", "/items")) == (200, '"default";r=2;t=60')
        assert stands(await shop.get("/items?colour=red")) == (422, '"default";r=1;t=60')
        assert stands(await shop.get("/items", headers={"Accept": "text/html"})) == (
            406,
            '"default";r=0;t=60',
        )
        assert (await shop.get("/items?colour=red")).status_code == 429

    async def test_outside_the_api_nothing_counts(self, shop: Api) -> None:
        for path in ("/livez", "/readyz", "/startupz", "/health", "/", "/docs", "/.well-known/jwks.json"):
            for _ in range(4):
                answer = await shop.root(path)
                assert stands(answer) == (200, None)


class TestWhoIsCounted:
    async def test_strangers_by_address(self, shop: Api) -> None:
        assert await statuses(shop, 4) == [200, 200, 200, 429]
        assert await statuses(shop, 4, **ELSEWHERE) == [200, 200, 200, 429]

    async def test_a_network_of_ipv6_is_one_stranger(self, shop: Api) -> None:
        for last in ("1", "2", "ffff:0:1"):
            assert await statuses(shop, 1, **{"X-Forwarded-For": f"2001:db8:0:7::{last}"}) == [200]
        assert await statuses(shop, 1, **{"X-Forwarded-For": "2001:db8:0:7::3"}) == [429]
        assert await statuses(shop, 1, **{"X-Forwarded-For": "2001:db8:0:8::3"}) == [200]

    async def test_what_a_client_makes_up_is_not_its_address(self, shop: Api) -> None:
        """Only the last entry is the proxy's."""
        forged = [f"198.51.100.{number}, 203.0.113.9" for number in range(4)]
        seen = [await statuses(shop, 1, **{"X-Forwarded-For": each}) for each in forged]
        assert seen == [[200], [200], [200], [429]]

    async def test_without_trusted_proxies_the_header_is_ignored(
        self, settings: Settings, maria: Person
    ) -> None:
        few = {"rate_limit_default": "3/minute", "response_cache_bytes": 0}
        app = app_of(settings.model_copy(update=few))
        async with app.router.lifespan_context(app), Api.of(app) as api:
            forged = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(4)]
            assert [await statuses(api, 1, **each) for each in forged] == [[200], [200], [200], [429]]

    async def test_users_wherever_they_are_and_however_often_signed_in(
        self, shop: Api, make: Make, maria: Person
    ) -> None:
        me = shop.signed_in(maria.token)
        again = shop.signed_in((await make.api.token(maria.email, PASSWORD)).json()["access_token"])
        assert await statuses(me, 2, "/users/profile") == [200, 200]
        assert await statuses(again, 2, "/users/profile", **ELSEWHERE) == [200, 429]
        other = await make.user()
        assert await statuses(shop.signed_in(other.token), 1, "/users/profile") == [200]
        assert await statuses(shop, 1) == [200]

    async def test_bad_tokens_by_address(self, shop: Api) -> None:
        """Guessing counts as well, before anything is said about the guess."""
        tried = [await statuses(shop.signed_in(f"x.y.{number}"), 1) for number in range(4)]
        assert tried == [[401], [401], [401], [429]]


class TestClientInTheLog:
    @pytest.mark.parametrize(
        ("forwarded", "client"),
        [
            ("198.51.100.7", "198.51.100.7"),
            ("2001:db8::7, ::ffff:198.51.100.8", "198.51.100.8"),
            ("x", "127.0.0.1"),
        ],
    )
    async def test_is_who_the_proxy_says(
        self, shop: Api, caplog: pytest.LogCaptureFixture, forwarded: str, client: str
    ) -> None:
        await shop.get("/items", headers={"X-Forwarded-For": forwarded})
        [line] = [record.msg for record in caplog.records if record.name == "access"]
        assert isinstance(line, dict)
        assert line["client"] == client

    async def test_in_the_audit_log_too(
        self, application: FastAPI, maria: Person, sql: asyncpg.Connection
    ) -> None:
        async with limited(application) as api:
            form = {"grant_type": "password", "username": maria.email, "password": PASSWORD}
            await api.post("/auth/token", data=form, headers=ELSEWHERE)
        assert await sql.fetchval("SELECT host(address) FROM audit_addresses") == "198.51.100.7"

    async def test_scheme_and_host_are_not_taken_from_headers(self, shop: Api) -> None:
        forged = {
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "evil.example",
            "Forwarded": "host=evil.example",
        }
        answer = await shop.root("/", headers=forged)
        assert "evil.example" not in answer.text
        assert "https://" not in answer.text


class TestSignIn:
    @pytest.fixture
    async def door(self, application: FastAPI, maria: Person) -> AsyncIterator[Api]:
        limits = {"rate_limit_sign_in": "6/minute;100/hour", "rate_limit_refresh": "2/minute"}
        async with limited(application, **limits) as api:
            yield api

    async def test_is_limited_by_address_whatever_the_account(
        self, door: Api, maria: Person, make: Make
    ) -> None:
        for number in range(6):
            person = await make.user(email=f"person{number}@many.example")
            assert (await door.token(person.email, PASSWORD)).status_code == 200
        answer = await door.token(maria.email, PASSWORD)
        assert answer.status_code == 429
        assert answer.json() == {
            "error": "slow_down",
            "error_description": "Too many requests. Try again in 61 s.",
        }
        assert answer.headers["retry-after"] == "61"
        assert stands(answer) == (429, '"sign-in-minute";r=0;t=61')
        assert answer.headers["ratelimit-policy"] == (
            '"default";q=1000000;w=60, "sign-in-minute";q=6;w=60, "sign-in-hour";q=100;w=3600'
        )
        form = {"grant_type": "password", "username": maria.email, "password": PASSWORD}
        assert (await door.post("/auth/token", data=form, headers=ELSEWHERE)).status_code == 200

    async def test_a_token_buys_no_more(self, door: Api, maria: Person) -> None:
        assert [(await door.token("x@shop.example", "x")).status_code for _ in range(2)] == [400] * 2
        me = door.signed_in(maria.token)
        assert [(await me.token(maria.email, PASSWORD)).status_code for _ in range(5)] == [200] * 4 + [429]

    async def test_refreshing_is_limited_on_its_own(self, door: Api, maria: Person) -> None:
        form = {"grant_type": "refresh_token", "refresh_token": "x"}
        answers = [await door.post("/auth/token", data=form) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [400, 400, 429]
        assert answers[0].headers["ratelimit"] == '"refresh";r=1;t=60'
        assert answers[2].json()["error"] == "slow_down"
        assert (await door.token(maria.email, PASSWORD)).status_code == 200

    async def test_other_grants_have_the_default_limit(self, door: Api) -> None:
        answer = await door.post("/auth/token", data={"grant_type": "client_credentials"})
        assert answer.headers["ratelimit-policy"] == '"default";q=1000000;w=60'

    async def test_so_is_guessing_ones_own_password(
        self, door: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        me, body = (
            door.signed_in(maria.token),
            {"current_password": "wrong-1-horse", "new_password": "battery-2-x"},
        )
        answers = [await me.post("/users/profile/password", json=body) for _ in range(7)]
        assert [answer.status_code for answer in answers] == [422] * 6 + [429]
        right = await me.post("/users/profile/password", json={**body, "current_password": PASSWORD})
        assert_problem(right, 429, "too_many_requests")
        assert (await door.token(maria.email, PASSWORD)).status_code == 200


class TestRegistration:
    @pytest.fixture
    async def door(self, application: FastAPI, maria: Person) -> AsyncIterator[Api]:
        async with limited(application, rate_limit_register="1/minute") as api:
            yield api

    @staticmethod
    async def register(api: Api, email: str) -> httpx2.Response:
        body = {"email": email, "password": PASSWORD, "full_name": "Ana Trujillo"}
        return await api.post("/users", json=body)

    async def test_is_limited_also_for_who_has_an_account(
        self, door: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        assert (await self.register(door, "ana@shop.example")).status_code == 201
        for api in (door, door.signed_in(maria.token)):
            answer = await self.register(api, "ana2@shop.example")
            assert_problem(answer, 429, "too_many_requests")
            assert answer.headers["ratelimit-policy"] == '"default";q=1000000;w=60, "register";q=1;w=60'
        assert await sql.fetchval("SELECT count(*) FROM users") == 2

    async def test_that_an_address_is_taken_is_not_found_out_in_bulk(self, door: Api, maria: Person) -> None:
        seen = [(await self.register(door, maria.email)).status_code for _ in range(2)]
        assert seen == [409, 429]

    async def test_administrators_enter_customers(self, door: Api, make: Make) -> None:
        ada = door.signed_in((await make.admin()).token)
        answers = [await self.register(ada, f"ana{number}@shop.example") for number in range(3)]
        assert [answer.status_code for answer in answers] == [201] * 3
        assert answers[0].headers["ratelimit-policy"] == '"default";q=1000000;w=60'


class TestReset:
    async def test_asking_for_mails_is_limited(self, application: FastAPI, maria: Person) -> None:
        async with limited(application, rate_limit_reset="2/minute") as api:
            bodies = [{"email": f"nobody{number}@shop.example"} for number in range(3)]
            answers = [await api.post("/auth/password-reset", json=body) for body in bodies]
            assert [stands(answer) for answer in answers] == [
                (202, '"reset";r=1;t=60'),
                (202, '"reset";r=0;t=60'),
                (429, '"reset";r=0;t=61'),
            ]
            assert_problem(answers[2], 429, "too_many_requests")


class TestStoreThatFails:
    @pytest.fixture
    async def shop(self, application: FastAPI, maria: Person) -> AsyncIterator[Api]:
        limits = dict.fromkeys(("rate_limit_default", "rate_limit_sign_in"), "6/minute")
        async with limited(application, redis_url=NOBODY_LISTENS, **limits) as api:
            yield api

    async def test_the_service_goes_on_and_counts_it(self, shop: Api) -> None:
        before = decided("default", "store_failed")
        answers = [await shop.get("/items") for _ in range(8)]
        assert [stands(answer) for answer in answers] == [(200, None)] * 8
        assert decided("default", "store_failed") == before + 8

    async def test_signing_in_stays_limited(self, shop: Api, maria: Person) -> None:
        before = decided("sign_in", "store_failed"), decided("sign_in", "refused")
        answers = [await shop.token(maria.email, PASSWORD) for _ in range(8)]
        assert [answer.status_code for answer in answers] == [200] * 6 + [429] * 2
        assert answers[0].headers["ratelimit"] == '"sign-in";r=5;t=60'
        assert decided("sign_in", "store_failed") == before[0] + 6
        assert decided("sign_in", "refused") == before[1] + 2


class TestSlowDown:
    """After half as many failures as RATE_LIMIT_SIGN_IN admits."""

    @pytest.fixture
    async def door(self, application: FastAPI, maria: Person) -> AsyncIterator[Api]:
        async with limited(application, rate_limit_sign_in="8/minute") as api:
            yield api

    @pytest.fixture
    def slept(self, door: Api, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """What would have been slept; the tests do not wait."""
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        monkeypatch.setattr(door.app.state.container.issuer.throttle, "_sleep", sleep)
        return slept

    async def attempt(self, door: Api, email: str, password: str, number: int) -> httpx2.Response:
        form = {"grant_type": "password", "username": email, "password": password}
        return await door.post("/auth/token", data=form, headers={"X-Forwarded-For": f"198.51.100.{number}"})

    @pytest.mark.parametrize("email", ["maria@shop.example", "nobody@shop.example"])
    async def test_an_account_is_slowed_whether_or_not_there_is_one(
        self, door: Api, slept: list[float], email: str
    ) -> None:
        answers = [await self.attempt(door, email, "wrong-horse-1", number) for number in range(7)]
        assert slept == [0.25, 0.5, 1.0]
        assert {(answer.status_code, answer.content) for answer in answers} == {(400, answers[0].content)}

    async def test_the_owner_gets_in_all_the_same_and_that_is_the_end_of_it(
        self, door: Api, maria: Person, slept: list[float]
    ) -> None:
        for number in range(20):
            await self.attempt(door, maria.email, "wrong-horse-1", number)
        slept.clear()
        assert (await self.attempt(door, maria.email, PASSWORD, 30)).status_code == 200
        assert (await self.attempt(door, maria.email, PASSWORD, 31)).status_code == 200
        assert slept == [4.0]

    async def test_an_address_is_slowed_whatever_it_tries(self, door: Api, slept: list[float]) -> None:
        for number in range(6):
            await self.attempt(door, f"nobody{number}@shop.example", "wrong-horse-1", 7)
        assert slept == [0.25, 0.5]

    async def test_too_many_that_wait_are_refused(
        self, door: Api, maria: Person, slept: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(4):
            await self.attempt(door, maria.email, "wrong-horse-1", number)
        waiting = door.app.state.container.issuer.throttle._waiting
        monkeypatch.setitem(waiting, "198.51.100.7", 4)
        answer = await self.attempt(door, maria.email, PASSWORD, 7)
        assert (answer.status_code, answer.json()["error"]) == (429, "slow_down")
        assert answer.headers["retry-after"] == "4"
        monkeypatch.setitem(waiting, "198.51.100.7", 32)
        answer = await self.attempt(door, maria.email, PASSWORD, 8)
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert slept == []
