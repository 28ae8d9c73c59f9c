"""What the system does with orders by itself, and the table of transitions."""

from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from service.container.api import Container
from service.errors import NotFound
from service.orders import expiry, transitions
from service.orders.errors import InvalidTransition
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


WINDOW = timedelta(hours=24)


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
        """The order may have been paid while the worker was looking."""
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


async def make_old(sql: asyncpg.Connection) -> None:
    """As if every order had been placed 25 hours earlier; triggers would refuse it."""
    async with sql.transaction():
        await sql.execute("SET LOCAL session_replication_role = replica")
        await sql.execute("UPDATE orders SET placed_at = placed_at - interval '25 hours'")


class TestUnpaidOrders:
    async def statuses(self, sql: asyncpg.Connection) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await sql.fetch("SELECT status, cancel_reason FROM orders ORDER BY id")]

    async def test_are_cancelled_when_their_time_is_over(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})
        await make_old(sql)
        await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
        with capture_logs() as lines:
            await expiry.cancel_unpaid(container.database, WINDOW)
            await expiry.cancel_unpaid(container.database, WINDOW)
        assert await self.statuses(sql) == [("cancelled", expiry.REASON), ("placed", None)]
        assert await sql.fetchval("SELECT quantity FROM stock") == 4
        assert [line for line in lines if line["event"] == "orders.expired"] == [
            {"event": "orders.expired", "log_level": "info", "count": 1}
        ]
        types = await sql.fetch("SELECT type FROM events ORDER BY id")
        assert [row["type"] for row in types] == ["order.placed", "order.placed", "order.cancelled"]
        kinds = await sql.fetch("SELECT kind FROM notifications WHERE user_id = $1 ORDER BY id", maria.id)
        assert [row["kind"] for row in kinds] == ["order.placed", "order.placed", "order.cancelled"]
        noted = await sql.fetchrow("SELECT actor_id, key_id FROM audit_log WHERE action = 'order.cancelled'")
        assert noted is not None
        assert tuple(noted) == (None, None)

    async def test_what_was_paid_in_time_is_left_alone(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=5)
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})).json()
        await admin.api.post(f"/orders/{order['id']}/pay", json={"reference": "P-1"})
        await make_old(sql)
        await expiry.cancel_unpaid(container.database, WINDOW)
        assert await self.statuses(sql) == [("paid", None)]

    async def test_more_than_are_looked_for_at_once(
        self,
        make: Make,
        container: Container,
        sql: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(expiry, "BATCH", 2)
        maria, chai = await make.user(), await make.item(stock=5)
        for _ in range(5):
            await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
        await make_old(sql)
        await expiry.cancel_unpaid(container.database, WINDOW)
        assert await self.statuses(sql) == [("cancelled", expiry.REASON)] * 5
        assert await sql.fetchval("SELECT quantity FROM stock") == 5
