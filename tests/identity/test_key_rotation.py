"""SECRET_KEYS_ACCEPTED: accept the new key, switch to it, drop the old one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from service.identity.tokens import SigningKey
from service.platform.config import Settings, generate_key
from tests.accounts.test_sign_in import assert_refused
from tests.helpers.application import app_of
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.identity import NOT_GOOD, refresh, rotated, sign_in

ALL_TOKENS = "SELECT hash FROM refresh_tokens ORDER BY hash"


class Keys:
    """Processes on the tests' database, before, amid and after a rotation from `old` to `new`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.old, self.new = settings.secret_key, SecretStr(generate_key())

    def app(self, key: SecretStr, *accepted: SecretStr) -> FastAPI:
        update = {"secret_key": key, "secret_keys_accepted": accepted}
        return app_of(self.settings.model_copy(update=update))

    @asynccontextmanager
    async def process(self, key: SecretStr, *accepted: SecretStr) -> AsyncIterator[Api]:
        app = self.app(key, *accepted)
        async with app.router.lifespan_context(app), Api.of(app) as client:
            yield client

    @asynccontextmanager
    async def amid(self) -> AsyncIterator[tuple[Api, Api]]:
        """Half of the way through the switch: one process signs with the old key, one with the new."""
        async with AsyncExitStack() as stack:
            before = await stack.enter_async_context(self.process(self.old, self.new))
            after = await stack.enter_async_context(self.process(self.new, self.old))
            yield before, after


@pytest.fixture
async def keys(settings: Settings) -> Keys:
    return Keys(settings)


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


async def published(api: Api) -> list[str]:
    return [key["kid"] for key in (await api.root("/.well-known/jwks.json")).json()["keys"]]


class TestAccessTokens:
    async def test_of_an_accepted_key_are_good(self, maria: Person, keys: Keys) -> None:
        async with keys.process(keys.new, keys.old) as api:
            assert (await api.signed_in(maria.token).get("/users/profile")).status_code == 200
        async with keys.process(keys.new) as api:
            answer = await api.signed_in(maria.token).get("/users/profile")
            assert_problem(answer, 401, "invalid_token")

    async def test_new_ones_are_signed_with_the_new_key(self, maria: Person, keys: Keys) -> None:
        async with keys.process(keys.new, keys.old) as api:
            token = (await sign_in(api, maria))["access_token"]
        for key, status in ((keys.new, 200), (keys.old, 401)):
            async with keys.process(key) as api:
                assert (await api.signed_in(token).get("/users/profile")).status_code == status

    async def test_every_accepted_key_is_published_the_signing_one_first(self, api: Api, keys: Keys) -> None:
        old, new = (SigningKey(key.get_secret_value()).kid for key in (keys.old, keys.new))
        assert await published(api) == [old]
        async with keys.amid() as (before, after):
            assert (await published(before), await published(after)) == ([old, new], [new, old])
        async with keys.process(keys.new) as last:
            assert await published(last) == [new]


class TestRefreshTokens:
    async def test_depend_on_no_key(self, api: Api, maria: Person, keys: Keys) -> None:
        token = await rotated(api, (await sign_in(api, maria))["refresh_token"])
        async with keys.process(keys.new) as last:
            assert (await refresh(last, token)).status_code == 200

    @pytest.mark.parametrize("first", [0, 1])
    async def test_have_one_successor_whichever_process_is_asked_first(
        self, api: Api, maria: Person, keys: Keys, sql: asyncpg.Connection, first: int
    ) -> None:
        token = (await sign_in(api, maria))["refresh_token"]
        async with keys.amid() as processes:
            successor = await rotated(processes[first], token)
            stored = await sql.fetch(ALL_TOKENS)
            assert await rotated(processes[1 - first], token) == successor
            assert await rotated(processes[first], token) == successor
            assert await sql.fetch(ALL_TOKENS) == stored
            assert (await refresh(processes[1 - first], successor)).status_code == 200

    async def test_used_in_both_at_once_have_one_successor(
        self, api: Api, maria: Person, keys: Keys, sql: asyncpg.Connection
    ) -> None:
        token = (await sign_in(api, maria))["refresh_token"]
        async with keys.amid() as processes:
            answers = await asyncio.gather(*(refresh(processes[turn % 2], token) for turn in range(20)))
        assert [answer.status_code for answer in answers] == [200] * 20
        assert len({answer.json()["refresh_token"] for answer in answers}) == 1
        assert len(await sql.fetch(ALL_TOKENS)) == 2

    async def test_a_successor_under_a_removed_key_is_not_repeated_and_its_session_goes_on(
        self, api: Api, maria: Person, keys: Keys, sql: asyncpg.Connection
    ) -> None:
        token = (await sign_in(api, maria))["refresh_token"]
        successor = await rotated(api, token)
        stored = await sql.fetch(ALL_TOKENS)
        async with keys.process(keys.new) as last:
            assert assert_refused(await refresh(last, token), "invalid_grant") == NOT_GOOD
            assert await sql.fetch(ALL_TOKENS) == stored
            assert (await refresh(last, successor)).status_code == 200


class TestCursors:
    async def test_of_an_accepted_key_are_good(self, make: Make, keys: Keys) -> None:
        for _ in range(3):
            await make.item()
        async with keys.amid() as processes, keys.process(keys.new) as last:
            for asked, follower in (processes, processes[::-1]):
                link = (await asked.get("/items?limit=1")).headers["link"]
                url = f"http://shop.test{link.partition('>')[0].removeprefix('<')}"
                answer = await follower.get(url)
                assert (answer.status_code, len(answer.json())) == (200, 1)
            assert (await last.get(url)).status_code == 200
            link = (await processes[0].get("/items?limit=1")).headers["link"]
            old = f"http://shop.test{link.partition('>')[0].removeprefix('<')}"
            assert_problem(await last.get(old), 422, "invalid_input", "?cursor")
