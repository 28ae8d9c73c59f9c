"""A user who loses access has lost it a second later, in every process, in whatever state the change feed is.

Two services on one database: both are asked all the time, while something is taken away. An answer to a
request that began more than a second after the COMMIT must not know better.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import asyncpg
import httpx2
import pytest

from service.platform.config import generate_key
from tests.helpers.proxy import Proxy, proxy_before
from tests.helpers.waiting import wait_until
from tests.server.process import PASSWORD, Service, cloned_database, started

pytestmark = pytest.mark.slow

ADMIN = "ada@shop.example"
LIMIT_SECONDS = 1.0
PAUSE_SECONDS = 0.04
#: Answers that have to be there before anything is taken away, and after it has been.
FIRST = 3
PROFILE, STAFF = "/users/profile", "/admin/users"
LISTENERS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE application_name = 'tradepost changes' AND datname = current_database()"
)
_numbers = count(1)


@dataclass
class Shop:
    """Two services, the network between them and the database, and a connection past that network."""

    services: tuple[Service, Service]
    pool: Proxy
    feed: Proxy
    runner: asyncio.Runner
    sql: asyncpg.Connection

    @property
    def first(self) -> Service:
        return self.services[0]

    def commit(self, statement: str, *values: Any) -> float:
        """By when it was committed."""
        self.runner.run(self.sql.execute(statement, *values))
        return time.monotonic()

    def person(self) -> "Person":
        email = f"person{next(_numbers)}@shop.example"
        token = self.first.register(email)
        with self.first.client(token) as client:
            return Person(email, client.get(PROFILE).json()["id"], token)

    def kill_listeners(self) -> None:
        self.commit(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'tradepost changes' AND datname = current_database()"
        )

    def listens(self) -> bool:
        """Whether all services do, by their connections now and by their metrics a moment ago."""
        connected = self.runner.run(self.sql.fetchval(LISTENERS))
        return connected == len(self.services) and all(map(in_sync, self.services))


@dataclass
class Person:
    email: str
    id: int
    token: str = field(repr=False)


@dataclass
class Watch:
    """What each service has answered to one token: when the request began, and the status."""

    answers: dict[int, list[tuple[float, int]]] = field(default_factory=dict)

    def goes_from(self, before: int, after: int, *, at: float, others: frozenset[int] = frozenset()) -> None:
        """At first it is `before`, and from a second after the COMMIT on `after`, or one of the others."""
        assert len(self.answers) == 2
        for seen in self.answers.values():
            assert {status for _, status in seen} <= {before, after} | others
            assert {status for _, status in seen[:FIRST]} == {before}
            late = [status for began, status in seen if began > at + LIMIT_SECONDS]
            assert len(late) >= FIRST
            assert set(late) <= {after} | others
            assert before not in late

    def has_seen(self, at: float) -> None:
        """Wait for a second more than that, and until enough has been asked in it."""
        until(at + 2 * LIMIT_SECONDS)
        moment = at + LIMIT_SECONDS
        wait_until(
            lambda: all(
                sum(began > moment for began, _ in list(seen)) >= FIRST for seen in self.answers.values()
            )
        )

    def stays(self, status: int) -> None:
        for seen in self.answers.values():
            assert {seen_status for _, seen_status in seen} == {status}


@contextmanager
def watched(shop: Shop, token: str, path: str = PROFILE) -> Iterator[Watch]:
    """Both services are asked, over and over, from before the block until its end."""
    watch, done = Watch(), threading.Event()

    def ask(service: Service, answers: list[tuple[float, int]]) -> None:
        with service.client(token) as client:
            while not done.is_set():
                began = time.monotonic()
                answers.append((began, client.get(path).status_code))
                done.wait(PAUSE_SECONDS)

    threads = [
        threading.Thread(target=ask, args=(service, watch.answers.setdefault(service.port, [])))
        for service in shop.services
    ]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all(len(answers) >= FIRST for answers in watch.answers.values()))
        yield watch
    finally:
        done.set()
        for thread in threads:
            thread.join()


def in_sync(service: Service) -> bool:
    return "\nchange_feed_listening 1.0\n" in service.metrics()


def until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with ExitStack() as stack:
        url = stack.enter_context(cloned_database())
        pool, pool_url = stack.enter_context(proxy_before(url))
        feed, feed_url = stack.enter_context(proxy_before(url))
        settings: dict[str, Any] = {
            "DATABASE_URL": pool_url,
            "DATABASE_DIRECT_URL": feed_url,
            "SECRET_KEY": generate_key(),
            "ADMIN_EMAIL": ADMIN,
            "ADMIN_PASSWORD": PASSWORD,
            "WEB_CONCURRENCY": 1,
        }
        folder = tmp_path_factory.mktemp("effect")
        first = stack.enter_context(started(folder / "first", **settings)).wait_until_up()
        second = stack.enter_context(started(folder / "second", **settings)).wait_until_up()
        runner = stack.enter_context(asyncio.Runner())
        sql = runner.run(asyncpg.connect(url))
        yield Shop((first, second), pool, feed, runner, sql)
        runner.run(sql.close())


@pytest.fixture
def shop(running: Shop) -> Iterator[Shop]:
    """Whole again after each test."""
    wait_until(running.listens)
    yield running
    running.pool.resume()
    running.feed.resume()


@pytest.fixture
def admin(shop: Shop) -> Iterator[httpx2.Client]:
    """Signed in at the first service."""
    with shop.first.client(shop.first.sign_in(ADMIN).json()["access_token"]) as client:
        yield client


class TestEverywhereWithinASecond:
    def test_a_deactivated_user_is_refused(self, shop: Shop, admin: httpx2.Client) -> None:
        maria, other = shop.person(), shop.person()
        with watched(shop, maria.token) as watch, watched(shop, other.token) as bystander:
            answer = admin.patch(f"{STAFF}/{maria.id}", json={"is_active": False})
            committed = time.monotonic()
            assert answer.status_code == 200
            watch.has_seen(committed)
        watch.goes_from(200, 401, at=committed)
        bystander.stays(200)

    def test_a_withdrawn_role_is_gone(self, shop: Shop, admin: httpx2.Client) -> None:
        grace = shop.person()
        admin.patch(f"{STAFF}/{grace.id}", json={"is_admin": True})
        token = shop.first.sign_in(grace.email).json()["access_token"]
        with watched(shop, token, STAFF) as watch, watched(shop, token) as profile:
            answer = admin.patch(f"{STAFF}/{grace.id}", json={"is_admin": False})
            committed = time.monotonic()
            assert answer.status_code == 200
            watch.has_seen(committed)
        watch.goes_from(200, 403, at=committed)
        profile.stays(200)

    def test_a_granted_role_is_there(self, shop: Shop, admin: httpx2.Client) -> None:
        grace = shop.person()
        with watched(shop, grace.token, STAFF) as watch:
            assert admin.patch(f"{STAFF}/{grace.id}", json={"is_admin": True}).status_code == 200
            committed = time.monotonic()
            watch.has_seen(committed)
        watch.goes_from(403, 200, at=committed)

    def test_a_changed_password_ends_the_other_sessions(self, shop: Shop) -> None:
        maria = shop.person()
        other = shop.services[1].sign_in(maria.email).json()["access_token"]
        body = {"current_password": PASSWORD, "new_password": "battery-staple-2"}
        with (
            watched(shop, other) as watch,
            watched(shop, maria.token) as own,
            shop.first.client(maria.token) as client,
        ):
            assert client.post(f"{PROFILE}/password", json=body).status_code == 204
            committed = time.monotonic()
            watch.has_seen(committed)
        watch.goes_from(200, 401, at=committed)
        own.stays(200)

    def test_an_ended_session_is_over(self, shop: Shop) -> None:
        maria = shop.person()
        other = shop.services[1].sign_in(maria.email).json()["access_token"]
        with shop.first.client(maria.token) as client:
            [session] = [each for each in client.get("/auth/sessions").json() if not each["current"]]
            with watched(shop, other) as watch, watched(shop, maria.token) as own:
                assert client.delete(f"/auth/sessions/{session['id']}").status_code == 204
                committed = time.monotonic()
                watch.has_seen(committed)
        watch.goes_from(200, 401, at=committed)
        own.stays(200)


DEACTIVATE = "UPDATE users SET is_active = false WHERE id = $1"


class TestWhateverBecomesOfTheFeed:
    def test_its_connections_are_killed(self, shop: Shop) -> None:
        """Before the change, and, where it may have been on its way, right after."""
        before, after = shop.person(), shop.person()
        with watched(shop, before.token) as first, watched(shop, after.token) as second:
            shop.kill_listeners()
            at_first = shop.commit(DEACTIVATE, before.id)
            first.has_seen(at_first)
            wait_until(shop.listens)
            at_second = shop.commit(DEACTIVATE, after.id)
            shop.kill_listeners()
            second.has_seen(at_second)
        first.goes_from(200, 401, at=at_first)
        second.goes_from(200, 401, at=at_second)

    @pytest.mark.parametrize("way", ["cut", "hang"])
    def test_its_connections_are_lost_and_cannot_be_made_again(self, shop: Shop, way: str) -> None:
        """At the moment it happens, while a lease still runs, and when none has run for some time."""
        at_once, soon, late, other = [shop.person() for _ in range(4)]
        with (
            watched(shop, at_once.token) as first,
            watched(shop, soon.token) as second,
            watched(shop, late.token) as third,
            watched(shop, other.token) as bystander,
        ):
            getattr(shop.feed, way)()
            committed = [shop.commit(DEACTIVATE, at_once.id)]
            time.sleep(0.4)
            committed.append(shop.commit(DEACTIVATE, soon.id))
            until(committed[0] + 2)
            wait_until(lambda: not any(map(in_sync, shop.services)))
            committed.append(shop.commit(DEACTIVATE, late.id))
            for watch, at in zip((first, second, third), committed, strict=True):
                watch.has_seen(at)
            shop.feed.resume()
            wait_until(shop.listens)
        for watch, at in zip((first, second, third), committed, strict=True):
            watch.goes_from(200, 401, at=at)
        bystander.stays(200)

    def test_the_database_is_gone_altogether(self, shop: Shop) -> None:
        """Then nobody is told anything: 503 is an answer, what was true a while ago is none."""
        maria, other = shop.person(), shop.person()
        with watched(shop, maria.token) as watch, watched(shop, other.token) as bystander:
            shop.feed.cut()
            shop.pool.cut()
            committed = shop.commit(DEACTIVATE, maria.id)
            until(committed + 2.5)
            watch.has_seen(committed)
            shop.pool.resume()
            shop.feed.resume()
            wait_until(shop.listens)
            wait_until(lambda: all(seen[-1][1] == 200 for seen in bystander.answers.values()))
        watch.goes_from(200, 401, at=committed, others=frozenset({503}))
        for answers in (watch.answers, bystander.answers):
            for seen in answers.values():
                during = [status for began, status in seen if committed + 1 < began < committed + 2.3]
                assert set(during) == {503}
        for seen in bystander.answers.values():
            assert seen[-1][1] == 200
            assert {status for _, status in seen} == {200, 503}

    def test_a_refusal_without_the_database_says_when_to_come_again(self, shop: Shop) -> None:
        maria = shop.person()
        shop.feed.cut()
        shop.pool.cut()
        with shop.first.client(maria.token) as client:
            wait_until(lambda: client.get("/posts").status_code == 503)
            answer = client.get(PROFILE)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
