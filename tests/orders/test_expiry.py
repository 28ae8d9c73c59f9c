"""What the system does with orders by itself, and the table of transitions."""

import asyncpg
import pytest

from service.container.api import Container
from service.errors import InvalidTransition, NotFound
from service.orders import transitions
from service.platform.http.schemas import MAX_ID
from tests.helpers.factories import Make
from tests.helpers.identity import audited, last_entry
from tests.helpers.orders import brought_to, placed


class TestMoves:
    def test_are_those_of_the_contract(self) -> None:
        table = {
            name: (transition.sources, transition.target)
            for name, transition in transitions.TRANSITIONS.items()
        }
        assert table == {
            "pay": (("placed",), "paid"),
            "ship": (("paid",), "shipped"),
            "deliver": (("shipped",), "delivered"),
            "cancel": (("placed", "paid"), "cancelled"),
            "expire": (("placed",), "cancelled"),
            "refund": (("cancelled",), "refunded"),
        }


class TestTheSystemCancels:
    async def test_an_unpaid_order(self, make: Make, container: Container, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=3)
        order, before = await placed(maria, chai.id, 2), await last_entry(sql)
        async with container.database.transaction() as session:
            cancelled = await transitions.cancel(session, None, order["id"], "Not paid in time")
        assert (cancelled.status, cancelled.cancel_reason) == ("cancelled", "Not paid in time")
        assert [(event.status, event.by) for event in cancelled.events] == [
            ("placed", "customer"),
            ("cancelled", "system"),
        ]
        assert await sql.fetchval("SELECT quantity FROM stock") == 3
        assert await sql.fetchval("SELECT actor_id FROM stock_movements WHERE kind = 'return'") is None
        told = await sql.fetchval("SELECT user_id FROM notifications WHERE kind = 'order.cancelled'")
        assert told == maria.id
        data = {"user_id": maria.id, "total": "36.00"}
        assert await audited(sql, before) == [("order.cancelled", None, "order", order["id"], data)]

    @pytest.mark.parametrize("status", ["paid", "shipped", "cancelled"])
    async def test_nothing_else(
        self, make: Make, container: Container, sql: asyncpg.Connection, status: str
    ) -> None:
        """Somebody may have paid while the worker was looking."""
        maria, chai = await make.user(), await make.item(stock=3)
        order = await placed(maria, chai.id, 2)
        await brought_to(sql, order, status)
        before = (await maria.api.get(f"/orders/{order['id']}")).json()
        with pytest.raises(InvalidTransition):
            async with container.database.transaction() as session:
                await transitions.cancel(session, None, order["id"], None)
        assert (await maria.api.get(f"/orders/{order['id']}")).json() == before
        assert await sql.fetchval("SELECT quantity FROM stock") == 1

    async def test_an_order_that_is_not_there(self, container: Container, sql: asyncpg.Connection) -> None:
        with pytest.raises(NotFound):
            async with container.database.transaction() as session:
                await transitions.cancel(session, None, MAX_ID, None)
