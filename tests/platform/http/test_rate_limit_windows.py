"""Counting, waiting and giving up, against a clock of the test's own."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.accounts.sign_in import throttle as throttling
from service.accounts.sign_in.throttle import SignInThrottle, folded, free_failures
from service.errors import Overloaded, TooManyRequests
from service.platform.config import Settings
from service.platform.http import rate_limit_store as store
from service.platform.http.rate_limit import Decision, Limits, Policy, Rule, Standing, bucket
from service.platform.http.rate_limit_store import LocalCounts, Store, StoreFailed
from service.platform.telemetry import request_facts
from service.platform.telemetry.request_facts import RequestFacts
from tests.helpers.clock import Clock

T = TypeVar("T")
NOWHERE = "redis://127.0.0.1:9/0"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counts(clock: Clock) -> LocalCounts:
    return LocalCounts(clock)


async def hits(rule: Rule, counts: LocalCounts, times: int, key: str = "x") -> list[bool]:
    return [(await rule.hit(counts, key)).allowed for _ in range(times)]


class TestWindow:
    async def test_admits_so_many_and_no_more(self, counts: LocalCounts) -> None:
        assert await hits(Rule("default", "3/minute"), counts, 5) == [True, True, True, False, False]

    async def test_says_what_remains_and_when_there_is_more(self, counts: LocalCounts, clock: Clock) -> None:
        rule = Rule("default", "2/minute")
        assert await rule.hit(counts, "x") == Decision(
            True, '"default";q=2;w=60', Standing("default", remaining=1, seconds=60)
        )
        clock.now += 20.5
        assert (await rule.hit(counts, "x")).standing == Standing("default", 0, 40)
        refused = await rule.hit(counts, "x")
        assert (refused.allowed, refused.standing) == (False, Standing("default", 0, 40))

    async def test_keys_and_policies_count_apart(self, counts: LocalCounts) -> None:
        for name in ("default", "reset"):
            policy: Policy = "default" if name == "default" else "reset"
            for key in ("x", "y"):
                assert await hits(Rule(policy, "1/minute"), counts, 2, key) == [True, False]

    async def test_the_window_before_fades(self, counts: LocalCounts, clock: Clock) -> None:
        """No burst of twice the quota at the turn of the minute, as with windows that do not slide."""
        rule = Rule("default", "10/minute")
        admitted = []
        for pause in (0, 60, 6, 24, 30, 120):
            clock.now += pause
            admitted.append((await hits(rule, counts, 11)).count(True))
        assert admitted == [10, 0, 1, 4, 5, 10]

    @given(
        quota=st.integers(1, 40),
        steps=st.lists(st.tuples(st.floats(0, 130), st.integers(1, 45)), min_size=1, max_size=8),
    )
    def test_a_client_that_waits_for_retry_after_gets_in_and_none_earlier(
        self, quota: int, steps: list[tuple[float, int]]
    ) -> None:
        async def scenario() -> None:
            clock = Clock()
            counts, rule = LocalCounts(clock), Rule("default", f"{quota}/minute")
            for pause, tries in steps:
                clock.now += pause
                decisions = [await rule.hit(counts, "x") for _ in range(tries)]
                last = decisions[-1]
                assert last.standing is not None
                if last.allowed:
                    assert 0 <= last.standing.remaining < quota
                    continue
                assert last.standing.remaining == 0
                assert 1 <= last.standing.seconds <= 121
                clock.now += last.standing.seconds
                assert (await rule.hit(counts, "x")).allowed

        asyncio.run(scenario())


class TestSeveralLimits:
    async def test_all_of_them_must_admit(self, counts: LocalCounts, clock: Clock) -> None:
        rule = Rule("sign_in", "2/minute;3/hour")
        assert await hits(rule, counts, 3) == [True, True, False]
        clock.now += 120
        # What the minute refused has not counted for the hour.
        assert await hits(rule, counts, 2) == [True, False]

    async def test_the_one_that_is_used_up_first_is_reported(self, counts: LocalCounts, clock: Clock) -> None:
        rule = Rule("sign_in", "2/minute;3/hour")
        decision = await rule.hit(counts, "x")
        assert decision.policy == '"sign-in-minute";q=2;w=60, "sign-in-hour";q=3;w=3600'
        assert decision.standing == Standing("sign-in-minute", 1, 60)
        await rule.hit(counts, "x")
        clock.now += 120
        assert (await rule.hit(counts, "x")).standing == Standing("sign-in-hour", 0, 3_480)
        assert (await rule.hit(counts, "x")).standing == Standing("sign-in-hour", 0, 3_481)


class TestLocalCounts:
    async def test_a_count_ends_with_its_time(self, counts: LocalCounts, clock: Clock) -> None:
        assert [await counts.incr("x", 60), await counts.incr("x", 60, 2)] == [1, 3]
        clock.now += 59
        assert await counts.incr("x", 60, -1) == 2
        clock.now += 1
        assert await counts.incr("x", 60) == 1
        await counts.clear("x")
        await counts.clear("y")
        assert await counts.incr("x", 60) == 1

    async def test_the_least_recently_used_is_forgotten(self, clock: Clock) -> None:
        counts = LocalCounts(clock, max_keys=2)
        rule = Rule("default", "1/minute")
        for key in ("x", "y", "z"):
            assert await hits(rule, counts, 1, key) == [True]
            assert await counts.incr(key, 60) == 1
        assert await hits(rule, counts, 1, "y") == [False]
        assert await hits(rule, counts, 1, "x") == [True]
        assert [await counts.incr(key, 60) for key in ("y", "x")] == [2, 1]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        (None, "unknown"),
        ("testclient", "unknown"),
    ],
)
def test_whose_requests_count_together(address: str | None, expected: str) -> None:
    assert bucket(address) == expected


class Redis:
    """Stands in for the shared store: as slow, broken or whole as the test wants."""

    base_exceptions = ConnectionError

    def __init__(self) -> None:
        self.asked = 0
        self.answers: Callable[[], Awaitable[int]] = self.whole

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        self.asked += 1
        return await self.answers()

    @staticmethod
    async def whole() -> int:
        return 41

    @staticmethod
    async def silent() -> int:
        await asyncio.sleep(60)
        return 0

    @staticmethod
    async def closed() -> int:
        raise ConnectionError


class TestStore:
    @pytest.fixture
    def redis(self) -> Redis:
        return Redis()

    @pytest.fixture
    def shared(self, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Store:
        made = Store(NOWHERE)
        monkeypatch.setattr(made, "_redis", redis)
        monkeypatch.setattr(store, "PATIENCE_SECONDS", 0.02)
        return made

    @staticmethod
    async def count(counts: Any) -> int:
        value: int = await counts.incr("x", 60)
        return value

    async def test_answers_from_the_shared_one(self, shared: Store) -> None:
        assert await shared.shared(self.count) == await shared.either(self.count) == 41

    @pytest.mark.parametrize("fault", ["silent", "closed"])
    async def test_after_a_fault_none_asks_for_a_while(self, shared: Store, redis: Redis, fault: str) -> None:
        redis.answers = getattr(redis, fault)
        for _ in range(3):
            with pytest.raises(StoreFailed):
                await shared.shared(self.count)
        assert redis.asked == 1

    async def test_then_one_tries_and_the_others_do_not_wait_for_it(
        self, shared: Store, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        redis.answers = redis.closed
        with pytest.raises(StoreFailed):
            await shared.shared(self.count)
        monkeypatch.setattr(shared, "_asks_again", 0.0)
        redis.answers = redis.silent
        outcomes = await asyncio.gather(
            *(shared.shared(self.count) for _ in range(5)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [StoreFailed] * 5
        assert redis.asked == 2

    async def test_when_it_is_back_all_ask_again(
        self, shared: Store, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        redis.answers = redis.closed
        assert await shared.either(self.count) == 1
        monkeypatch.setattr(shared, "_asks_again", 0.0)
        redis.answers = redis.whole
        assert [await shared.shared(self.count) for _ in range(3)] == [41] * 3

    async def test_a_loop_that_was_held_up_does_not_blame_the_store(
        self, shared: Store, redis: Redis
    ) -> None:
        async def answers() -> int:
            await asyncio.sleep(0)
            time.sleep(0.1)  # noqa: ASYNC251 - that is what is tested
            await asyncio.sleep(0.001)
            return 41

        redis.answers = answers
        assert await shared.shared(self.count) == 41

    async def test_a_fault_of_ours_is_not_taken_for_the_stores(self, shared: Store, redis: Redis) -> None:
        async def broken(_: object) -> int:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await shared.shared(broken)
        assert await shared.shared(self.count) == 41


class TestWithoutTheStore:
    """Nothing listens at NOWHERE."""

    @pytest.fixture
    def limits(self, settings: Settings) -> Limits:
        small = dict.fromkeys(("rate_limit_default", "rate_limit_sign_in"), "2/minute")
        return Limits(Store(NOWHERE), settings.model_copy(update=small))

    async def test_the_default_limit_does_not_hold(self, limits: Limits) -> None:
        decisions = [await limits.hit("default", "x") for _ in range(4)]
        assert decisions == [Decision(True, '"default";q=2;w=60')] * 4

    async def test_a_strict_one_holds_for_the_process(self, limits: Limits) -> None:
        decisions = [await limits.hit("sign_in", "x") for _ in range(4)]
        assert [decision.allowed for decision in decisions] == [True, True, False, False]


class TestSlowDown:
    @pytest.fixture
    def slept(self) -> list[float]:
        return []

    @pytest.fixture
    def slow_down(self, slept: list[float]) -> SignInThrottle:
        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        return SignInThrottle(Store(None), b"key", free=3, sleep=sleep)

    @staticmethod
    async def attempt(
        slow_down: SignInThrottle, email: str, address: str = "198.51.100.7"
    ) -> throttling.Attempt:
        request_facts.begin(RequestFacts(address=address))
        return await slow_down.attempt(email)

    async def test_doubles_up_to_a_cap(self, slow_down: SignInThrottle, slept: list[float]) -> None:
        for number in range(10):
            await self.attempt(slow_down, "maria@shop.example", f"198.51.100.{number}")
        assert slept == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
        assert slow_down.seconds(10_000) == 4.0

    async def test_an_address_is_slowed_whatever_account_it_tries(
        self, slow_down: SignInThrottle, slept: list[float]
    ) -> None:
        for number in range(5):
            await self.attempt(slow_down, f"maria{number}@shop.example", "2001:db8::7")
        await self.attempt(slow_down, "ana@shop.example", "2001:db8::8")
        await self.attempt(slow_down, "ana@shop.example", "2001:db8:0:1::7")
        assert slept == [0.25, 0.5, 1.0]

    async def test_a_success_resets_the_account_and_not_the_address(
        self, slow_down: SignInThrottle, slept: list[float]
    ) -> None:
        for _ in range(4):
            attempt = await self.attempt(slow_down, "maria@shop.example")
        await slow_down.succeeded(attempt)
        await self.attempt(slow_down, "maria@shop.example", "203.0.113.9")
        await self.attempt(slow_down, "ana@shop.example")
        assert slept == [0.25, 0.25]

    async def test_successes_alone_cost_nothing(self, slow_down: SignInThrottle, slept: list[float]) -> None:
        for number in range(20):
            await slow_down.succeeded(await self.attempt(slow_down, f"maria{number}@shop.example"))
        assert slept == []

    async def test_every_spelling_is_the_same_account(
        self, slow_down: SignInThrottle, slept: list[float]
    ) -> None:
        spellings = (
            "maria@shop.example",
            "MARIA@Shop.Example",
            "mar\u0130a@shop.example",
            "ma\0ria@shop.example",
        )
        for number, spelling in enumerate(spellings):
            await self.attempt(slow_down, spelling, f"198.51.100.{number}")
        assert slept == [0.25]
        assert folded("\ud800") == "\ud800"
        await self.attempt(slow_down, "\ud800")

    async def test_few_of_one_address_wait_at_once(self, slow_down: SignInThrottle) -> None:
        release = await self.occupied(slow_down, throttling.MOST_OF_ONE, "198.51.100.7")
        with pytest.raises(TooManyRequests) as refusal:
            await self.attempt(slow_down, "tried0@shop.example")
        assert refusal.value.headers == {"Retry-After": "4"}
        await release()

    async def test_few_of_all_wait_at_once(self, slow_down: SignInThrottle) -> None:
        addresses = throttling.MOST_WAITING // throttling.MOST_OF_ONE
        releases = [
            await self.occupied(slow_down, throttling.MOST_OF_ONE, f"198.51.{number}.7")
            for number in range(addresses)
        ]
        with pytest.raises(Overloaded):
            await self.attempt(slow_down, "tried0@shop.example", "203.0.113.9")
        for release in releases:
            await release()
        assert slow_down._waiting == {}
        slow_down._sleep = asyncio.sleep
        await self.attempt(slow_down, "ana@shop.example", "203.0.113.9")

    async def occupied(
        self, slow_down: SignInThrottle, times: int, address: str
    ) -> Callable[[], Awaitable[None]]:
        """So many attempts from there wait, until they are released."""
        gate = asyncio.Event()

        async def sleep(_: float) -> None:
            await gate.wait()

        slow_down._sleep = sleep
        for _ in range(3):
            await slow_down._count(f"failures/address/{address}", 1)
        waiting = [
            asyncio.create_task(self.attempt(slow_down, f"tried{number}@shop.example", address))
            for number in range(times)
        ]
        for _ in range(10):
            await asyncio.sleep(0)
        assert slow_down._waiting[address] == times

        async def release() -> None:
            gate.set()
            await asyncio.gather(*waiting)

        return release

    def test_begins_at_half_of_the_limit(self) -> None:
        limits = ("10/minute;100/hour", "1/second", "1000000/minute")
        assert [free_failures(limit) for limit in limits] == [5, 3, 500_000]
