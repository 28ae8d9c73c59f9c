"""What an operator does after a restore: then nothing of the lost time leads to something else."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from proofs.restore import documented, shell
from proofs.restore.witness import Open, Witness
from service.platform.config import Settings
from tests.conftest import for_sqlalchemy
from tests.helpers.application import running
from tests.helpers.client import Api
from tests.server.process import PASSWORD, cloned_database, statement

ADMINISTRATOR = "ada@shop.example"
MAKE_ADMINISTRATOR = "UPDATE users SET is_admin = true"


@pytest.fixture
def lost() -> Iterator[str]:
    with cloned_database() as url:
        yield url


@asynccontextmanager
async def serving(settings: Settings, url: str) -> AsyncIterator[Open]:
    given = SecretStr(for_sqlalchemy(url))
    async with running(settings, database_url=given, database_direct_url=given) as api:

        def opened(token: str | None) -> httpx2.AsyncClient:
            return api.signed_in(token) if token else _anonymous(api)

        yield opened


@asynccontextmanager
async def cloned(url: str) -> AsyncIterator[str]:
    clone = cloned_database(template=url.rpartition("/")[2])
    yield await asyncio.to_thread(clone.__enter__)
    await asyncio.to_thread(clone.__exit__, None, None, None)


def _anonymous(api: Api) -> Api:
    client = Api(transport=httpx2.ASGITransport(app=api.app), base_url=api.base_url)
    client.app = api.app
    return client


async def restored(settings: Settings, lost: str, *commands: str, folder: Path) -> list[str]:
    """A copy that was made before the lost time takes its place, and these commands are run on it."""
    witness = Witness(ADMINISTRATOR)
    async with serving(settings, lost) as opened:
        async with opened(None) as client:
            body = {"email": ADMINISTRATOR, "password": PASSWORD, "full_name": "Ada"}
            assert (await client.post("/users", json=body)).status_code == 201
        await asyncio.to_thread(statement, lost, MAKE_ADMINISTRATOR)
        await witness.before(opened)
    async with cloned(lost) as copy:
        async with serving(settings, lost) as opened:
            await witness.in_the_lost_time(opened)
        for each in commands:
            await shell.run(each, folder, RESTORED_URL=copy)
        async with serving(settings, copy) as opened:
            return await witness.after(opened)


class TestAfterARestore:
    async def test_nothing_of_the_lost_time_leads_to_something_else(
        self, settings: Settings, lost: str, tmp_path: Path
    ) -> None:
        commands = documented.blocks()["after-restore"]
        assert await restored(settings, lost, commands, folder=tmp_path) == []

    async def test_without_these_commands_it_would(
        self, settings: Settings, lost: str, tmp_path: Path
    ) -> None:
        assert await restored(settings, lost, folder=tmp_path) == [
            "account 2 has a number that a lost one had",
            "/users/profile answers the access token of a lost account with 200, not 401",
            "/users/profile/export answers the access token of a lost account with 200, not 401",
            "a lost version of an item is answered 304: it is not the newest",
            "a change of a lost version of an item is answered 200, not 412",
        ]
