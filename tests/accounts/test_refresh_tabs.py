"""Several tabs share a session: whatever each of them still holds, they end with one token, or as thieves."""

import asyncio
from itertools import product

import asyncpg
import pytest

from service.platform.config import Settings
from tests.accounts.test_sign_in import assert_refused
from tests.helpers.client import Api
from tests.helpers.factories import Make, Person
from tests.helpers.identity import NOT_GOOD, refresh, rotated, sign_in
from tests.helpers.waiting import until_blocked
from tests.identity.test_key_rotation import Keys

GRACE = 20
PASSED = """
    UPDATE refresh_tokens SET rotated_at = rotated_at - make_interval(secs => $1)
    WHERE session_id = (SELECT max(id) FROM sessions)
"""
FRESH = "SELECT count(*) FROM refresh_tokens WHERE rotated_at IS NULL"


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


async def passes(sql: asyncpg.Connection, seconds: float) -> None:
    """Let that time pass for the tokens of the newest session."""
    await sql.execute(PASSED, float(seconds))


class Contract:
    """What section 4 of the contract says of a chain of tokens, each named by its position."""

    def __init__(self) -> None:
        self.rotated: list[float | None] = [None]
        self.now = 0.0

    def use(self, position: int) -> int | None:
        """The position of what is handed out; None: the session ends."""
        used = self.rotated[position]
        if used is None:
            self.rotated[position] = self.now
            self.rotated.append(None)
        elif self.now - used >= GRACE:
            return None
        return len(self.rotated) - 1


def orders(waits: tuple[int, ...]) -> set[tuple[int, ...]]:
    """The orders in which the tokens that there are by then can be used, up to the end of the session."""
    found = set()
    for wanted in product(range(2), range(3), range(4)):
        contract = Contract()
        contract.use(0)
        used: list[int] = []
        for position, seconds in zip(wanted, waits, strict=True):
            contract.now += seconds
            used.append(min(position, len(contract.rotated) - 1))
            if contract.use(used[-1]) is None:
                break
        found.add(tuple(used))
    return found


class TestTabs:
    async def test_the_third_tab_does_not_end_the_session(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        first = (await sign_in(api, maria))["refresh_token"]
        second = await rotated(api, first)
        await passes(sql, 2)
        third = await rotated(api, second)
        await passes(sql, 2)
        assert await rotated(api, first) == third
        assert await sql.fetchval(FRESH) == 1
        await passes(sql, 22)
        fourth = await rotated(api, third)
        assert len({first, second, third, fourth}) == 4

    @pytest.mark.parametrize("waits", list(product((2, 18, GRACE), repeat=3)), ids=str)
    async def test_in_every_order_and_at_every_time(
        self, api: Api, maria: Person, sql: asyncpg.Connection, waits: tuple[int, ...]
    ) -> None:
        """Each of the tokens so far, three times in a row after the first use, with these waits between."""
        for order in orders(waits):
            contract, tokens = Contract(), [(await sign_in(api, maria))["refresh_token"]]
            contract.use(0)
            tokens.append(await rotated(api, tokens[0]))
            for position, seconds in zip(order, waits, strict=False):
                contract.now += seconds
                await passes(sql, seconds)
                due = contract.use(position)
                answer = await refresh(api, tokens[position])
                if due is None:
                    assert assert_refused(answer, "invalid_grant") == NOT_GOOD, order
                    for token in tokens:
                        assert_refused(await refresh(api, token), "invalid_grant")
                    break
                successor = answer.json()["refresh_token"]
                if due == len(tokens):
                    assert successor not in tokens, order
                    tokens.append(successor)
                assert successor == tokens[due], order

    async def test_a_long_chain_is_followed_to_its_end(self, api: Api, maria: Person) -> None:
        tokens = [(await sign_in(api, maria))["refresh_token"]]
        for _ in range(12):
            tokens.append(await rotated(api, tokens[-1]))
        assert [await rotated(api, token) for token in tokens[:-1]] == [tokens[-1]] * 12

    async def test_tokens_of_different_age_used_at_once_have_one_successor(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        tokens = [(await sign_in(api, maria))["refresh_token"]]
        for _ in range(2):
            tokens.append(await rotated(api, tokens[-1]))
        answers = await asyncio.gather(*(refresh(api, token) for token in tokens * 6))
        assert [answer.status_code for answer in answers] == [200] * 18
        assert await sql.fetchval(FRESH) == 1
        got = {answer.json()["refresh_token"] for answer in answers}
        # Requests before the newest token was used got that one; all others its successor.
        (newest,) = got - {tokens[-1]}
        assert await rotated(api, tokens[0]) == newest

    async def test_who_waits_for_another_tab_gets_what_that_has_got(
        self, api: Api, maria: Person, sql: asyncpg.Connection
    ) -> None:
        first = (await sign_in(api, maria))["refresh_token"]
        second = await rotated(api, first)
        async with sql.transaction():
            await sql.execute("SELECT 1 FROM sessions ORDER BY id DESC LIMIT 1 FOR UPDATE")
            newer = asyncio.create_task(refresh(api, second))
            await until_blocked(sql)
            older = asyncio.create_task(refresh(api, first))
            await asyncio.sleep(0.1)
        third = {(await each).json()["refresh_token"] for each in (newer, older)} - {second}
        assert len(third) == 1
        assert await rotated(api, first) in third


class TestRotationOfKeys:
    async def test_a_chain_of_two_keys_is_followed_in_every_process(self, maria: Person, keys: Keys) -> None:
        async with keys.amid() as processes:
            tokens = [(await sign_in(processes[0], maria))["refresh_token"]]
            for turn in range(4):
                tokens.append(await rotated(processes[turn % 2], tokens[-1]))
            for process in processes:
                assert [await rotated(process, token) for token in tokens[:-1]] == [tokens[-1]] * 4

    async def test_a_chain_with_a_link_of_a_key_that_is_gone_yields_nothing_and_lives_on(
        self, maria: Person, keys: Keys
    ) -> None:
        async with keys.amid() as (before, after):
            first = (await sign_in(before, maria))["refresh_token"]
            second = await rotated(after, first)
            third = await rotated(before, second)
        async with keys.process(keys.new) as last:
            assert assert_refused(await refresh(last, first), "invalid_grant") == NOT_GOOD
            assert (await refresh(last, third)).status_code == 200


@pytest.fixture
async def keys(settings: Settings) -> Keys:
    return Keys(settings)
