"""Who is calling is asked of the database only for requests that are within the limit."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from fastapi import FastAPI

from service.accounts.api_keys import repository as api_keys
from service.identity.api_keys.format import new_key
from service.platform.config import Settings
from service.platform.crypto import fingerprint
from service.platform.database.change_feed import ChangeFeed
from tests.helpers.application import app_of
from tests.helpers.client import Api
from tests.helpers.factories import Make
from tests.helpers.limited import NOBODY_LISTENS, limited, stands, statuses
from tests.helpers.statements import noting


@pytest.fixture(scope="module")
async def application(settings: Settings) -> AsyncIterator[FastAPI]:
    """It keeps no answers, for those do not count."""
    app = app_of(settings.model_copy(update={"response_cache_bytes": 0}))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def shop(application: FastAPI, sql: asyncpg.Connection) -> AsyncIterator[Api]:
    """Three requests a minute."""
    async with limited(application, rate_limit_default="3/minute") as api:
        yield api


class TestBeforeTheDatabaseIsAsked:
    @pytest.fixture
    def statements(self, application: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
        """Those that ask who is calling. What has been heard is believed, however slow the machine is."""
        monkeypatch.setattr(ChangeFeed, "has_lease", property(lambda _: True))
        sent: list[str] = []

        def note(text: str) -> None:
            if "api_keys.hash =" in text or "JOIN sessions" in text:
                sent.append(text.split(maxsplit=1)[0])

        with noting(application.state.container.database, note):
            yield sent

    async def test_made_up_api_keys_cost_no_query_past_the_limit(
        self, shop: Api, statements: list[str]
    ) -> None:
        tried = [await statuses(shop.signed_in(new_key()), 1) for _ in range(8)]
        assert tried == [[401]] * 3 + [[429]] * 5
        assert statements == ["SELECT"] * 3

    async def test_nor_many_at_once(self, shop: Api, statements: list[str]) -> None:
        answers = await asyncio.gather(*(shop.signed_in(new_key()).get("/items") for _ in range(20)))
        assert sorted(answer.status_code for answer in answers) == [401] * 3 + [429] * 17
        assert statements == ["SELECT"] * 3

    async def test_nor_where_tokens_are_got(self, shop: Api, statements: list[str]) -> None:
        form = {"grant_type": "client_credentials"}
        tried = [await shop.signed_in(new_key()).post("/auth/token", data=form) for _ in range(6)]
        assert [answer.status_code for answer in tried] == [400] * 3 + [429] * 3
        assert statements == ["SELECT"] * 3

    async def test_nor_after_other_requests_of_the_address(self, shop: Api, statements: list[str]) -> None:
        assert await statuses(shop, 3) == [200] * 3
        assert await statuses(shop.signed_in(new_key()), 2) == [429] * 2
        assert statements == []

    async def test_nor_while_the_shared_store_fails(
        self, application: FastAPI, sql: asyncpg.Connection, statements: list[str]
    ) -> None:
        few = {"rate_limit_default": "3/minute", "redis_url": NOBODY_LISTENS}
        async with limited(application, **few) as api:
            tried = [await statuses(api.signed_in(new_key()), 1) for _ in range(6)]
        assert tried == [[401]] * 3 + [[429]] * 3
        assert statements == ["SELECT"] * 3

    async def test_a_key_that_is_good_has_its_own_limit_from_the_first_request_on(
        self, shop: Api, make: Make
    ) -> None:
        till = shop.signed_in((await make.key("orders:read")).key)
        answers = [await till.get("/items") for _ in range(4)]
        assert [stands(answer) for answer in answers] == [
            (200, '"default";r=2;t=60'),
            (200, '"default";r=1;t=60'),
            (200, '"default";r=0;t=60'),
            (429, '"default";r=0;t=61'),
        ]
        # Before it was known, it was one request of its address.
        assert await statuses(shop, 3) == [200, 200, 429]

    async def test_a_key_that_is_made_a_moment_later_is_good(self, shop: Api, make: Make) -> None:
        key = new_key()
        assert await statuses(shop.signed_in(key), 2) == [401, 401]
        maker = await make.admin()
        async with make.container.database.transaction() as session:
            await api_keys.add(
                session, name="Till", scopes=["orders:read"], expires_at=None, key_hash=fingerprint(key),
                hint="tp_", created_by=maker.id,
            )  # fmt: skip
        assert await statuses(shop.signed_in(key), 1, "/orders") == [200]

    async def test_a_known_key_is_not_held_back_by_its_neighbours(
        self, shop: Api, make: Make, application: FastAPI, statements: list[str]
    ) -> None:
        """Also when what was known of it is asked for again, because keys have changed."""
        till = shop.signed_in((await make.key("orders:read")).key)
        assert await statuses(till, 1) == [200]
        assert await statuses(shop, 3) == [200, 200, 429]
        await application.state.container.api_keys.load()
        assert await statuses(till, 3) == [200, 200, 429]
        assert statements == ["SELECT"] * 2

    async def test_one_that_was_revoked_is_a_stranger_from_then_on(
        self, shop: Api, make: Make, application: FastAPI, statements: list[str], sql: asyncpg.Connection
    ) -> None:
        till = shop.signed_in((await make.key("orders:read")).key)
        assert await statuses(till, 1) == [200]
        await sql.execute("UPDATE api_keys SET revoked_at = now()")
        await application.state.container.api_keys.load()
        assert await statuses(till, 5) == [401, 401, 429, 429, 429]
        assert statements == ["SELECT"] * 3

    async def test_out_of_sync_a_void_token_uses_up_none_of_its_users_limit(
        self, shop: Api, make: Make, statements: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        maria = await make.user()
        again = await make.signed_in_again(maria)
        assert (await again.api.delete(f"/auth/sessions/{again.caller.session_id}")).status_code == 204
        monkeypatch.setattr(ChangeFeed, "has_lease", property(lambda _: False))
        thief, me = shop.signed_in(again.token), shop.signed_in(maria.token)
        assert await statuses(thief, 6) == [401, 401, 401, 429, 429, 429]
        assert statements == ["SELECT"] * 3
        assert await statuses(me, 3) == [200, 200, 429]
        assert statements == ["SELECT"] * 5
