"""Four workers that answer from memory while two writers change the catalogue and listeners are killed: no
response is older than a second, no list is torn, and access that has ended reads nothing from memory.
"""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import httpx2
import pytest

from tests.helpers.client import V1
from tests.server.process import PASSWORD, Service, cloned_database, started

ADMIN = "ada@shop.example"
WORKERS, READERS, WRITERS = 4, 8, 2
#: What the API promises: a change is seen by everyone a second after its response.
PROMISED_SECONDS = 1.0
LISTENERS = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE application_name = 'tradepost changes' AND datname = current_database()"
)
HITS = re.compile(r'^response_cache_requests_total\{outcome="hit"\} (\S+)', re.MULTILINE)


@dataclass
class Shelf:
    """Two items that one writer changes, one after the other: the first is never more than a step ahead."""

    ids: tuple[int, int]
    #: Of each item, when the response to each change had come, in order: change number n is at position n.
    answered: tuple[list[float], list[float]] = field(default_factory=lambda: ([0.0], [0.0]))


@dataclass
class Seen:
    reads: int = 0
    hits: float = 0
    changes: int = 0
    killed: int = 0
    ended: int = 0
    faults: list[str] = field(default_factory=list)


@pytest.fixture
def database() -> Iterator[str]:
    with cloned_database() as url:
        yield url


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("coherence")
    own = started(
        folder, DATABASE_URL=database, WEB_CONCURRENCY=WORKERS, ADMIN_EMAIL=ADMIN, ADMIN_PASSWORD=PASSWORD
    )
    with own as service:
        yield service.wait_until_up()


@asynccontextmanager
async def client(service: Service, token: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """A connection anew for each request, so that requests reach all workers."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    limits = httpx2.Limits(max_keepalive_connections=0)
    async with httpx2.AsyncClient(
        base_url=service.url + V1, headers=headers, limits=limits, timeout=60
    ) as opened:
        yield opened


class Run:
    def __init__(self, service: Service, shelves: list[Shelf], seconds: float) -> None:
        self.service, self.shelves, self.seen = service, shelves, Seen()
        self._ends = time.monotonic() + seconds

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self._ends and not self.seen.faults

    async def write(self, shelf: Shelf, ada: httpx2.AsyncClient, reader: httpx2.AsyncClient) -> None:
        number = 0
        while self.goes_on:
            number += 1
            for place, item_id in enumerate(shelf.ids):
                changed = await ada.patch(
                    f"/items/{item_id}", json={"price": f"{number}.00"}, headers={"If-Match": "*"}
                )
                assert changed.status_code == 200, changed.text
                shelf.answered[place].append(time.monotonic())
                self.seen.changes += 1
                own = await reader.get(f"/items/{item_id}", headers={"Cache-Control": "no-cache"})
                if _number(own.json()) != number:
                    self.seen.faults.append(f"own write {number} was read as {own.text}")

    async def read(self, anyone: httpx2.AsyncClient) -> None:
        while self.goes_on:
            shelf, began = random.choice(self.shelves), time.monotonic()
            if random.random() < 0.5:
                place = random.randrange(2)
                answer = await anyone.get(f"/items/{shelf.ids[place]}")
                self._check(shelf, place, _number(answer.json()), began)
            else:
                items = {each["id"]: each for each in (await anyone.get("/items?limit=100")).json()}
                first, second = (_number(items[item_id]) for item_id in shelf.ids)
                if first - second not in (0, 1):
                    self.seen.faults.append(f"a list has change {first} beside change {second}")
                self._check(shelf, 0, first, began)
            self.seen.reads += 1

    def _check(self, shelf: Shelf, place: int, number: int, began: float) -> None:
        """Whether a response to a request of this moment is as new as promised."""
        answered = shelf.answered[place]
        newer = number + 1
        if newer < len(answered) and answered[newer] < began - PROMISED_SECONDS:
            age = began - answered[newer]
            self.seen.faults.append(f"change {number} was read {age:.3f} s after the response to the next")

    async def kill_listeners(self, database: str) -> None:
        connection = await asyncpg.connect(database)
        try:
            while self.goes_on:
                await asyncio.sleep(random.uniform(0.1, 1.0))
                pids = [row["pid"] for row in await connection.fetch(LISTENERS)]
                if pids:
                    await connection.fetchval("SELECT pg_terminate_backend($1)", random.choice(pids))
                    self.seen.killed += 1
        finally:
            await connection.close()

    async def end_access(self, ada: httpx2.AsyncClient) -> None:
        """A customer who reads is deactivated, and goes on reading: refused a second later, always."""
        path = f"/items/{self.shelves[0].ids[0]}"
        while self.goes_on:
            email = f"ended{self.seen.ended}@shop.example"
            token = await asyncio.to_thread(self.service.register, email)
            async with client(self.service, token) as ended:
                me = (await ended.get("/users/profile")).json()["id"]
                for _ in range(8):
                    assert (await ended.get(path)).status_code == 200
                gone = await ada.patch(f"/admin/users/{me}", json={"is_active": False})
                assert gone.status_code == 200, gone.text
                answered = time.monotonic()
                while (now := time.monotonic()) < min(answered + 2 * PROMISED_SECONDS, self._ends):
                    status = (await ended.get(path)).status_code
                    if status == 200 and now > answered + PROMISED_SECONDS:
                        self.seen.faults.append(f"{email} read {now - answered:.3f} s after the end")
            self.seen.ended += 1


def _number(item: dict[str, str]) -> int:
    return int(item["price"].partition(".")[0])


async def run(service: Service, database: str, seconds: float) -> Seen:
    ada_token = service.sign_in(ADMIN).json()["access_token"]
    maria_token = service.register("maria@shop.example")
    async with AsyncExitStack() as stack:
        ada, maria, public = [
            await stack.enter_async_context(client(service, token))
            for token in (ada_token, maria_token, None)
        ]
        shelves = []
        for _ in range(WRITERS):
            new = [{"name": "Chai", "price": "0.50", "stock": 5}] * 2
            first, second = (await ada.post("/items/batch", json=new)).json()
            shelves.append(Shelf((first["id"], second["id"])))
        running = Run(service, shelves, seconds)
        await asyncio.gather(
            *(running.write(shelf, ada, maria) for shelf in shelves),
            *(running.read(maria if number % 2 else public) for number in range(READERS)),
            running.kill_listeners(database),
            running.end_access(ada),
        )
    found = HITS.search(service.metrics())
    running.seen.hits = float(found[1]) if found else 0
    return running.seen


def check(seen: Seen, seconds: float) -> None:
    print(seen)  # noqa: T201 - the figures of a proof
    assert seen.faults == []
    # Or nothing would have been shown.
    assert seen.hits > seen.reads / 10
    assert min(seen.changes, seen.reads) > seconds
    assert min(seen.killed, seen.ended) > seconds / 10


@pytest.mark.slow
async def test_no_response_is_older_than_a_second(service: Service, database: str) -> None:
    check(await run(service, database, 12), 12)


@pytest.mark.proof
async def test_no_response_is_older_than_a_second_for_a_minute(service: Service, database: str) -> None:
    check(await run(service, database, 60), 60)
