"""Four workers, each with its own response cache: a client that has a response reads nothing older."""

import asyncio
import re
from collections.abc import Iterator

import httpx2
import pytest

from tests.server.process import PASSWORD, Service, cloned_database, started

pytestmark = pytest.mark.slow

ADMIN = "ada@shop.example"
CHANGES, CONNECTIONS = 60, 24
HITS = re.compile(r'^response_cache_requests_total\{outcome="hit"\} (\S+)', re.MULTILINE)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("memory")
    with cloned_database() as url:
        own = started(folder, DATABASE_URL=url, WEB_CONCURRENCY=4, ADMIN_EMAIL=ADMIN, ADMIN_PASSWORD=PASSWORD)
        with own as service:
            yield service.wait_until_up()


async def test_a_change_is_seen_by_every_worker_once_it_is_answered(service: Service) -> None:
    token = service.sign_in(ADMIN).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    base = f"{service.url}/api/v1"
    async with (
        httpx2.AsyncClient(base_url=base, headers=headers, timeout=60) as ada,
        httpx2.AsyncClient(base_url=base, limits=limits, timeout=60) as public,
    ):
        new = {"name": "Chai", "price": "1.00", "stock": 5}
        path = f"/items/{(await ada.post('/items', json=new)).json()['id']}"
        seen: list[tuple[str, set[str]]] = []
        for number in range(CHANGES):
            price = f"{2 + number}.00"
            changed = await ada.patch(path, json={"price": price}, headers={"If-Match": "*"})
            assert changed.status_code == 200
            answers = await asyncio.gather(*(public.get(path) for _ in range(CONNECTIONS)))
            answers += await asyncio.gather(*(public.get(path) for _ in range(CONNECTIONS)))
            seen.append((price, {answer.json()["price"] for answer in answers}))
    assert [each for each in seen if each[1] != {each[0]}] == []
    found = HITS.search(service.metrics())
    assert found
    # Or nothing would have been shown: at the least the second time most were answered from memory.
    assert float(found[1]) >= CHANGES * CONNECTIONS / 2
