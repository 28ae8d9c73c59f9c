"""Rate limits that several processes share, in a real Redis, and their behaviour without it."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.platform.http.rate_limit import Rule
from service.platform.http.rate_limit_store import Store
from tests.helpers.client import V1
from tests.helpers.redis import Redis
from tests.helpers.waiting import wait_until
from tests.server.process import PASSWORD, Service, started

pytestmark = pytest.mark.slow

#: A request that takes longer than that hangs.
CLIENT_SECONDS = 5.0


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    server.start()
    yield server
    server.kill()


@contextmanager
def shop(database: str, redis: Redis, name: str, **settings: Any) -> Iterator[Service]:
    # What memory answers counts under no limit.
    settings = {"RESPONSE_CACHE_BYTES": 0, **settings}
    with started(redis.folder / name, DATABASE_URL=database, REDIS_URL=redis.url, **settings) as service:
        yield service.wait_until_up()


def counted(service: Service, name: str, **labels: str) -> float:
    """What METRICS_PORT says, over all workers, which write down what they count a moment later."""
    text = httpx2.get(f"http://127.0.0.1:{service.metrics_port}/metrics").text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def decided(service: Service, policy: str, decision: str) -> float:
    return counted(service, "rate_limit_decisions_total", policy=policy, decision=decision)


async def statuses(services: list[Service], times: int) -> Counter[int]:
    """Of so many requests, a few at once, to one service after the other."""
    few = asyncio.Semaphore(4)

    async def ask(client: httpx2.AsyncClient, service: Service) -> int:
        async with few:
            return (await client.get(f"{service.url}{V1}/items")).status_code

    async with httpx2.AsyncClient(timeout=CLIENT_SECONDS) as client:
        asked = [ask(client, services[number % len(services)]) for number in range(times)]
        return Counter(await asyncio.gather(*asked))


def test_two_services_share_one_limit_to_the_request(database: str, redis: Redis) -> None:
    limit = {"RATE_LIMIT_DEFAULT": "40/hour", "WEB_CONCURRENCY": 2}
    with shop(database, redis, "one", **limit) as one, shop(database, redis, "two", **limit) as two:
        assert asyncio.run(statuses([one, two], 100)) == {200: 40, 429: 60}
        wait_until(lambda: sum(decided(each, "default", "allowed") for each in (one, two)) == 40)
        wait_until(lambda: sum(decided(each, "default", "refused") for each in (one, two)) == 60)
        assert all(decided(each, "default", "refused") > 0 for each in (one, two))
        assert sum(decided(each, "default", "store_failed") for each in (one, two)) == 0


async def test_a_client_that_waits_for_retry_after_gets_in(redis: Redis) -> None:
    """The windows of the store are the same as those that a process keeps by itself."""
    shared, rule, took = Store(redis.url), Rule("default", "3/second"), 1.0
    while took > 0.5:  # on a slow machine the first might be over by the fourth
        key, began = uuid4().hex, time.monotonic()
        hit = partial(rule.hit, key=key)
        decisions = [await shared.shared(hit) for _ in range(4)]
        took = time.monotonic() - began
    assert [decision.allowed for decision in decisions] == [True, True, True, False]
    standings = [decision.standing for decision in decisions if decision.standing]
    assert [standing.remaining for standing in standings] == [2, 1, 0, 0]
    assert [standing.seconds for standing in standings][:3] == [1, 1, 1]
    await asyncio.sleep(standings[3].seconds)
    assert (await shared.shared(hit)).allowed
    await shared.aclose()


def test_what_failed_at_one_service_slows_down_at_the_other(database: str, redis: Redis) -> None:
    limit = {"RATE_LIMIT_SIGN_IN": "10/minute"}
    with shop(database, redis, "one", **limit) as one, shop(database, redis, "two", **limit) as two:
        answers = [each.sign_in("nobody@shop.example").status_code for each in [one] * 5 + [two]]
        assert answers == [400] * 6
        wait_until(lambda: counted(two, "sign_ins_slowed_total", outcome="waited") == 1)
        assert counted(one, "sign_ins_slowed_total") == 0
        assert b"nobody" not in redis.ask("KEYS *")


def is_used(service: Service) -> bool:
    """Whether requests are counted in the store."""

    def all_decided() -> float:
        return sum(decided(service, "default", each) for each in ("allowed", "store_failed"))

    allowed, before = decided(service, "default", "allowed"), all_decided()
    asyncio.run(statuses([service], 1))
    wait_until(lambda: all_decided() > before)
    return decided(service, "default", "allowed") > allowed


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
def test_without_redis_the_service_goes_on(database: str, redis: Redis, fault: signal.Signals) -> None:
    """And asks it again when it is back."""
    limits = {"RATE_LIMIT_DEFAULT": "100000/minute", "RATE_LIMIT_SIGN_IN": "6/hour"}
    with shop(database, redis, "one", WEB_CONCURRENCY=1, **limits) as service:
        email = f"maria{fault}@shop.example"
        service.register(email)
        assert asyncio.run(statuses([service], 20)) == {200: 20}
        # Those that registered and signed in as well.
        wait_until(lambda: decided(service, "default", "allowed") == 22)
        assert decided(service, "default", "store_failed") == 0

        redis.kill() if fault is signal.SIGKILL else redis.send(fault)
        asked = 0
        deadline = time.monotonic() + 3  # so long that it is tried again while it is away
        while time.monotonic() < deadline:
            assert asyncio.run(statuses([service], 20)) == {200: 20}
            asked += 20
        wait_until(lambda: decided(service, "default", "store_failed") == asked)
        assert decided(service, "default", "allowed") == 22
        # This process goes on limiting by itself what must be limited.
        answers = [service.sign_in(email, PASSWORD).status_code for _ in range(8)]
        assert answers == [200] * 6 + [429] * 2
        assert len(service.events("limits.store_failed")) == 1

        if fault is signal.SIGKILL:
            redis.start()
        else:
            redis.send(signal.SIGCONT)
        wait_until(lambda: is_used(service))
        assert service.sign_in(email, PASSWORD).status_code == 200
        assert len(service.events("limits.store_recovered")) == 1
        assert service.events("request.failed") == []
