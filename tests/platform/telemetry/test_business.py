"""Orders are counted where they come into a state, once it is committed; refusals where they are told."""

from datetime import timedelta

import asyncpg
import pytest

from service.container.api import Container
from service.orders import expiry
from service.orders import repository as orders
from service.orders.metrics import OUTCOMES
from service.platform.config import Settings
from service.verification import job as invariants
from tests.helpers.client import assert_problem
from tests.helpers.factories import Make
from tests.helpers.orders import HOME, placed, recorded
from tests.platform.telemetry.counted import counted


def outcomes(shipping: str = "standard") -> dict[str, float]:
    return {name: counted("orders_total", outcome=name, shipping=shipping) for name in OUTCOMES}


def since(before: dict[str, float], shipping: str = "standard") -> dict[str, float]:
    """Those that have grown, by how much."""
    now = outcomes(shipping)
    return {name: now[name] - before[name] for name in OUTCOMES if now[name] != before[name]}


class TestOrders:
    async def test_each_state_counts_once(self, make: Make) -> None:
        maria, ada, item = await make.user(), await make.admin(), await make.item(stock=5, price="18.00")
        before, revenue = outcomes("express"), counted("order_revenue_total", currency="USD")
        order = await placed(maria, item.id, 2, shipping="express", ship_to=HOME)
        assert since(before, "express") == {"placed": 1}
        assert counted("order_revenue_total", currency="USD") == revenue
        path = f"/orders/{order['id']}"
        for action, body in (
            ("pay", {"reference": "P-1"}),
            ("ship", {"tracking": "T-1"}),
            ("deliver", None),
        ):
            answer = await ada.api.post(f"{path}/{action}", json=body)
            assert answer.status_code == 200, answer.text
        assert since(before, "express") == dict.fromkeys(("placed", "paid", "shipped", "delivered"), 1)
        assert counted("order_revenue_total", currency="USD") == revenue + float(order["total"])

    async def test_what_the_worker_cancels_counts_too(
        self, container: Container, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria = await make.user()
        await recorded(sql, maria)
        before = outcomes()
        await expiry.cancel_unpaid(container.database, timedelta(0))
        assert since(before) == {"cancelled": 1}

    async def test_what_is_rolled_back_does_not(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        order_id = await recorded(sql, await make.user())
        before = outcomes()
        with pytest.raises(RuntimeError, match="too late"):
            await self._pay_too_late(container, order_id)
        assert since(before) == {}

    @staticmethod
    async def _pay_too_late(container: Container, order_id: int) -> None:
        async with container.database.transaction() as session:
            assert await orders.transition(
                session,
                order_id,
                viewer_id=None,
                sources=("placed",),
                target="paid",
                by="staff",
                values={"payment_reference": "P-1"},
            )
            raise RuntimeError("too late")


class TestRefusals:
    async def test_are_counted_by_their_code(self, make: Make) -> None:
        maria, item = await make.user(), await make.item(stock=1)
        before = outcomes()
        refused = counted("order_refusals_total", code="out_of_stock")
        answer = await maria.api.post("/orders", json={"product_id": item.id, "quantity": 2})
        assert_problem(answer, 409, "out_of_stock")
        assert counted("order_refusals_total", code="out_of_stock") == refused + 1
        assert since(before) == {}

    async def test_of_other_routes_are_not(self, make: Make) -> None:
        maria = await make.user()
        before = counted("order_refusals_total", code="forbidden")
        assert_problem(await maria.api.post("/items", json={"name": "x", "price": "1"}), 403, "forbidden")
        assert counted("order_refusals_total", code="forbidden") == before


class TestInvariants:
    async def test_what_cannot_be_is_counted_by_its_check(
        self, settings: Settings, make: Make, sql: asyncpg.Connection
    ) -> None:
        await make.item(stock=3)
        before = counted("order_invariant_faults_total", check="stock")
        assert settings.database_url is not None
        url = settings.database_url.get_secret_value()
        await invariants.verify(url, settings)
        assert counted("order_invariant_faults_total", check="stock") == before
        await sql.execute("UPDATE stock SET quantity = quantity + 1")
        await invariants.verify(url, settings)
        assert counted("order_invariant_faults_total", check="stock") == before + 1
