"""SECRET_KEY is changed under load, in the three steps of the documentation, and no request fails."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest

from service.identity.tokens import SigningKey
from service.platform.config import generate_key
from tests.helpers.client import V1
from tests.helpers.waiting import wait_until
from tests.server.process import PASSWORD, Service, cloned_database, started

pytestmark = pytest.mark.slow

CLIENTS = 4
#: So often each client goes round after a step, before the next one is taken.
ROUNDS = 3
LIMITS: dict[str, Any] = {
    f"RATE_LIMIT_{name}": "1000000/minute" for name in ("DEFAULT", "SIGN_IN", "REFRESH", "REGISTER")
}


class Pair:
    """Two processes on one database, and who is asking them: each can be replaced while they are asked."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder, self._numbers = stack, folder, count(1)
        self._database = stack.enter_context(cloned_database())
        self._running: Counter[int] = Counter()
        self.serving: list[Service] = []

    async def replace(self, **settings: Any) -> None:
        """One after the other. The new one is up, and nobody asks the old one any more, before that ends."""
        for place in (0, 1):
            folder = self._folder / str(next(self._numbers))
            new = self._stack.enter_context(
                started(folder, DATABASE_URL=self._database, WEB_CONCURRENCY=1, **LIMITS, **settings)
            )
            await asyncio.to_thread(new.wait_until_up)
            before = self.serving[place : place + 1]
            self.serving[place : place + 1] = [new]
            for old in before:
                await asyncio.to_thread(wait_until, partial(self._is_left_alone, old.port))
                assert await asyncio.to_thread(old.stop) == 0

    def _is_left_alone(self, port: int) -> bool:
        return self._running[port] == 0

    async def ask(
        self, http: httpx2.AsyncClient, place: int, method: str, path: str, **options: Any
    ) -> httpx2.Response:
        """The answer, which must be 200."""
        service = self.serving[place]
        self._running[service.port] += 1
        try:
            answer = await http.request(method, service.url + path, **options)
        finally:
            self._running[service.port] -= 1
        assert answer.status_code == 200, (method, path, answer.text)
        return answer

    async def published(self, http: httpx2.AsyncClient) -> list[list[str]]:
        """The ids of the keys that each of them publishes."""
        answers = [await self.ask(http, place, "GET", "/.well-known/jwks.json") for place in (0, 1)]
        return [[key["kid"] for key in answer.json()["keys"]] for answer in answers]


class Client:
    """Signs in, and then uses what it has from one process at the other, or at the same."""

    def __init__(self, pair: Pair, http: httpx2.AsyncClient, email: str) -> None:
        self.pair, self.http, self.email = pair, http, email
        self.tokens: dict[str, str] = {}
        self.rounds = 0

    async def token(self, place: int, **form: str) -> dict[str, str]:
        answer = await self.pair.ask(self.http, place, "POST", f"{V1}/auth/token", data=form)
        tokens: dict[str, str] = answer.json()
        return tokens

    async def sign_in(self) -> None:
        form = {"grant_type": "password", "username": self.email, "password": PASSWORD}
        self.tokens = await self.token(random.randrange(2), **form)

    async def refresh(self, refresh_token: str, place: int) -> dict[str, str]:
        return await self.token(place, grant_type="refresh_token", refresh_token=refresh_token)

    async def get(self, place: int, path: str) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.tokens['access_token']}"}
        return await self.pair.ask(self.http, place, "GET", path, headers=headers)

    async def go_round(self) -> None:
        one = random.randrange(2)
        other = random.randrange(2)
        await self.get(one, f"{V1}/users/profile")
        page = await self.get(one, f"{V1}/auth/sessions?limit=1")
        await self.get(other, page.headers["link"].partition(">")[0].removeprefix("<"))
        old = self.tokens["refresh_token"]
        self.tokens = await self.refresh(old, one)
        assert (await self.refresh(old, other))["refresh_token"] == self.tokens["refresh_token"]
        await self.verify(other)
        self.rounds += 1

    async def verify(self, place: int) -> None:
        """As a gateway would, with the keys that this process publishes."""
        answer = await self.pair.ask(self.http, place, "GET", "/.well-known/jwks.json")
        token = self.tokens["access_token"]
        key = jwt.PyJWKSet.from_dict(answer.json())[jwt.get_unverified_header(token)["kid"]]
        jwt.decode(token, key, algorithms=["ES256"], audience="tradepost")


class Load:
    """Clients that go round for as long as it is entered; the first failure of any of them is raised."""

    def __init__(self, clients: list[Client]) -> None:
        self.clients = clients
        self._stopped = asyncio.Event()

    async def _run(self, client: Client) -> None:
        while not self._stopped.is_set():
            await client.go_round()
            # There is to be something left of the machine for those that start meanwhile.
            await asyncio.sleep(0.1)

    async def run(self, steps: Any) -> None:
        async with asyncio.TaskGroup() as group:
            for client in self.clients:
                group.create_task(self._run(client))
            await steps
            self._stopped.set()

    async def go_on(self) -> None:
        """Return once each client has gone round some more."""
        wanted = [client.rounds + ROUNDS for client in self.clients]
        await asyncio.to_thread(
            wait_until,
            lambda: all(client.rounds >= least for client, least in zip(self.clients, wanted, strict=True)),
        )


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack, tmp_path)


async def test_accept_switch_drop(pair: Pair) -> None:
    old, new = generate_key(), generate_key()
    old_kid, new_kid = SigningKey(old).kid, SigningKey(new).kid
    async with httpx2.AsyncClient(timeout=30) as http:
        await pair.replace(SECRET_KEY=old)
        clients = []
        for number in range(CLIENTS + 1):
            email = f"person{number}@shop.example"
            pair.serving[0].register(email)
            clients.append(Client(pair, http, email))
            await clients[-1].sign_in()
        *clients, patient = clients
        load = Load(clients)

        async def rotate() -> None:
            await load.go_on()
            assert await pair.published(http) == [[old_kid]] * 2
            await pair.replace(SECRET_KEY=old, SECRET_KEYS_ACCEPTED=new)
            await load.go_on()
            assert await pair.published(http) == [[old_kid, new_kid]] * 2
            await pair.replace(SECRET_KEY=new, SECRET_KEYS_ACCEPTED=old)
            await load.go_on()
            assert await pair.published(http) == [[new_kid, old_kid]] * 2
            # What was issued before any of it is still good at both, and so will be what replaces it.
            for place in (0, 1):
                await patient.get(place, f"{V1}/users/profile")
            outdated = patient.tokens["access_token"]
            await patient.go_round()
            await pair.replace(SECRET_KEY=new)
            await load.go_on()
            assert await pair.published(http) == [[new_kid]] * 2
            await patient.go_round()
            for service in pair.serving:
                headers = {"Authorization": f"Bearer {outdated}"}
                refused = await http.get(f"{service.url}{V1}/users/profile", headers=headers)
                assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")

        await load.run(rotate())
    assert all(client.rounds >= 4 * ROUNDS for client in clients)
