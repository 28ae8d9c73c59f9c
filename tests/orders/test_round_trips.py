"""How often an order goes to the database and back: a customer waits for each of these round trips.

They are counted on the wire, BEGIN and COMMIT among them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import asyncpg
import pytest
from httpx2 import Response
from pydantic import SecretStr

from service.platform.config import Settings
from tests.conftest import for_sqlalchemy
from tests.helpers.application import running
from tests.helpers.client import Api
from tests.helpers.factories import Make, Person
from tests.helpers.orders import HOME, placed, recorded
from tests.helpers.proxy import Proxy, proxy_before

TRIES = 6
Ask = Callable[[Api, int], Awaitable[Response]]


@pytest.fixture
def proxy(database_url: str) -> Iterator[tuple[Proxy, str]]:
    with proxy_before(database_url) as found:
        yield found


@dataclass
class Counted:
    """A client of an application that goes to its database by the proxy."""

    api: Api
    proxy: Proxy

    async def fewest(self, person: Person, ask: Ask, status: int) -> int:
        """Of some requests, the fewest: now and then the process asks for its metrics in between."""
        api, found = self.api.signed_in(person.token), []
        for number in range(TRIES):
            before = self.proxy.round_trips
            answer = await ask(api, number)
            found.append(self.proxy.round_trips - before)
            assert answer.status_code == status, answer.text
        return min(found)


@pytest.fixture
async def counted(
    settings: Settings, proxy: tuple[Proxy, str], database_url: str, sql: asyncpg.Connection
) -> AsyncIterator[Counted]:
    """The change feed has a connection of its own, past the proxy."""
    by_proxy, direct = SecretStr(for_sqlalchemy(proxy[1])), SecretStr(for_sqlalchemy(database_url))
    update = {"database_url": by_proxy, "database_direct_url": direct}
    async with running(settings, **update) as api:
        yield Counted(api, proxy[0])


class TestRoundTrips:
    async def test_an_order_takes_six(self, make: Make, counted: Counted) -> None:
        """BEGIN, the key, the locks, the order with all that follows from it, the response, COMMIT."""
        maria, items = await make.user(), [await make.item(stock=50) for _ in range(4)]
        lines = [{"product_id": item.id, "quantity": 1} for item in items]
        body = {"lines": lines, "ship_to": HOME}
        assert await counted.fewest(maria, lambda api, _: api.post("/orders", json=body), 201) == 6

    async def test_an_order_that_empties_the_stock_takes_six(self, make: Make, counted: Counted) -> None:
        """With what the public sees of the items, and what administrators are notified of."""
        maria, _ = await make.user(), await make.admin()
        items = [await make.item(stock=4, reorder_level=3) for _ in range(TRIES)]

        async def ask(api: Api, number: int) -> Response:
            return await api.post("/orders", json={"product_id": items[number].id, "quantity": 4})

        assert await counted.fewest(maria, ask, 201) == 6

    async def test_an_order_that_is_sent_again_takes_three(self, make: Make, counted: Counted) -> None:
        """BEGIN, the key with its response, COMMIT."""
        maria, item = await make.user(), await make.item(stock=50)

        async def ask(api: Api, _: int) -> Response:
            body, headers = {"product_id": item.id, "quantity": 1}, {"Idempotency-Key": "again"}
            return await api.post("/orders", json=body, headers=headers)

        assert await counted.fewest(maria, ask, 201) == 3

    async def test_a_payment_takes_five(self, make: Make, counted: Counted, sql: asyncpg.Connection) -> None:
        """BEGIN, who is paying it, the order, the rest, COMMIT."""
        maria, admin = await make.user(), await make.admin()
        orders = [await recorded(sql, maria) for _ in range(TRIES)]

        async def ask(api: Api, number: int) -> Response:
            return await api.post(f"/orders/{orders[number]}/pay", json={"reference": "pi_1"})

        assert await counted.fewest(admin, ask, 200) == 5

    async def test_a_cancellation_takes_five(self, make: Make, counted: Counted) -> None:
        """BEGIN, the order, the locks of the items, the rest, COMMIT."""
        maria, item = await make.user(), await make.item(stock=50)
        orders = [await placed(maria, item.id) for _ in range(TRIES)]

        async def ask(api: Api, number: int) -> Response:
            return await api.post(f"/orders/{orders[number]['id']}/cancel")

        assert await counted.fewest(maria, ask, 200) == 5
