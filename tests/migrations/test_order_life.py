"""What the database itself refuses of orders, from any client; and orders from before it did."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import Any

import asyncpg
import pytest
from alembic import command

from service.orders.models import STATUSES
from service.orders.transitions import TRANSITIONS
from tests.helpers.factories import Make, Person
from tests.helpers.orders import HOME, WAYS, brought_to, placed, recorded
from tests.migrations.test_migrations import config, rows
from tests.server.process import cloned_database, statement

#: An order with one line, in one statement.
ADDED = """
    WITH added AS (
        INSERT INTO orders (user_id, customer_name, status, shipping, subtotal, discount, shipping_fee, total,
            currency, paid_at, shipped_at, delivered_at, cancelled_at, refunded_at, refund_due, events)
        VALUES ($1, 'Maria', '{status}', 'standard', {subtotal}, {discount}, 1, {subtotal} - {discount} + 1,
            'USD', {paid_at}, {shipped_at}, {delivered_at}, {cancelled_at}, {refunded_at}, {refund_due},
            {events})
        RETURNING id
    )
    INSERT INTO order_lines (order_id, product_id, position, name, quantity, unit_price, discount_pct,
        line_total)
    SELECT id, $2, 1, 'Chai', {quantity}, {unit_price}, 10, {line_total} FROM added
"""
#: What makes a legal one of it: three at 18.00 with 10 % off.
GOOD = {
    "status": "placed",
    "subtotal": "54",
    "discount": "5.40",
    "paid_at": "NULL",
    "shipped_at": "NULL",
    "delivered_at": "NULL",
    "cancelled_at": "NULL",
    "refunded_at": "NULL",
    "refund_due": "false",
    "quantity": "3",
    "unit_price": "18",
    "line_total": "48.60",
}
EVENT = {"status": "placed", "at": "2026-11-22T10:30:00.000000Z", "by": "customer"}


def events(*given: dict[str, Any]) -> str:
    return f"'{json.dumps(given)}'"


def added(**fault: str) -> str:
    """ADDED with these faults; an event of the state it says is not one of them."""
    event = {**EVENT, "status": fault.get("status", "placed")}
    return ADDED.format(**(GOOD | {"events": events(event)} | fault))


async def refused(sql: asyncpg.Connection, name: str, query: str, *values: Any) -> None:
    """By the constraint of this name; and nothing has changed."""
    state = "SELECT (SELECT json_agg(o) FROM orders AS o), (SELECT json_agg(l) FROM order_lines AS l)"
    before = await sql.fetchrow(state)
    with pytest.raises(asyncpg.CheckViolationError) as refusal:
        await sql.execute(query, *values)
    assert refusal.value.constraint_name == name
    assert await sql.fetchrow(state) == before


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


@pytest.fixture
async def chai(make: Make) -> int:
    return (await make.item(stock=9)).id


class TestAddedOrders:
    async def test_a_good_one_goes_in(self, sql: asyncpg.Connection, maria: Person, chai: int) -> None:
        await sql.execute(added(), maria.id, chai)
        assert await sql.fetchval("SELECT total FROM orders") == Decimal("49.60")

    @pytest.mark.parametrize(
        ("name", "fault"),
        [
            ("orders_add_up", {"subtotal": "54.01"}),
            ("orders_add_up", {"discount": "5.39"}),
            ("orders_add_up", {"quantity": "4", "line_total": "64.80"}),
            ("ck_orders_amounts_in_range", {"discount": "54.01"}),
            ("ck_orders_has_lines", {"subtotal": "0", "discount": "0"}),
            ("ck_orders_status_known", {"status": "lost", "paid_at": "now()"}),
            ("ck_order_lines_quantity_in_range", {"quantity": "0", "line_total": "0"}),
            ("ck_order_lines_quantity_in_range", {"quantity": "1001", "line_total": "16216.20"}),
            ("ck_order_lines_unit_price_positive", {"unit_price": "0", "line_total": "0"}),
            ("ck_order_lines_line_total_exact", {"line_total": "48.59"}),
            ("ck_orders_placed_is_unpaid", {"paid_at": "now()"}),
            ("ck_orders_paid_at_once_paid", {"status": "paid"}),
            ("ck_orders_shipped_at_once_shipped", {"status": "shipped", "paid_at": "now()"}),
            ("ck_orders_shipped_at_once_shipped", {"shipped_at": "now()"}),
            (
                "ck_orders_delivered_at_once_delivered",
                {"status": "delivered", "paid_at": "now()", "shipped_at": "now()"},
            ),
            ("ck_orders_cancelled_at_once_cancelled", {"status": "cancelled"}),
            ("ck_orders_cancelled_at_once_cancelled", {"cancelled_at": "now()"}),
            ("ck_orders_refunded_at_once_refunded", {"refunded_at": "now()"}),
            (
                "ck_orders_refund_due_if_paid",
                {"status": "cancelled", "cancelled_at": "now()", "paid_at": "now()"},
            ),
            (
                "ck_orders_refund_due_if_paid",
                {"status": "cancelled", "cancelled_at": "now()", "refund_due": "true"},
            ),
            ("ck_orders_last_event_is_state", {"events": events({**EVENT, "status": "paid"})}),
            ("ck_orders_last_event_complete", {"events": "'{}'"}),
            ("ck_orders_last_event_complete", {"events": events({**EVENT, "by": "Maria"})}),
            ("ck_orders_last_event_complete", {"events": events({**EVENT, "at": None})}),
        ],
    )
    async def test_a_bad_one_does_not(
        self, sql: asyncpg.Connection, maria: Person, chai: int, *, name: str, fault: dict[str, str]
    ) -> None:
        await refused(sql, name, added(**fault), maria.id, chai)

    async def test_one_without_lines_does_not(self, sql: asyncpg.Connection, maria: Person) -> None:
        await refused(
            sql,
            "orders_add_up",
            "INSERT INTO orders (user_id, customer_name, shipping, subtotal, discount, shipping_fee, total,"
            " currency) VALUES ($1, 'Maria', 'standard', 10, 0, 0, 10, 'USD')",
            maria.id,
        )


class TestWhatWasAgreed:
    @pytest.mark.parametrize(
        "change",
        [
            "shipping_fee = 5, total = total + 5",
            "subtotal = subtotal + 1, total = total + 1",
            "discount = 1, total = total - 1",
            "currency = 'EUR'",
            "user_id = (SELECT max(id) FROM users)",
        ],
    )
    async def test_never_changes(
        self, make: Make, sql: asyncpg.Connection, maria: Person, change: str
    ) -> None:
        await recorded(sql, maria)
        await make.user()
        await refused(sql, "orders_agreed_is_final", f"UPDATE orders SET {change}")

    @pytest.mark.parametrize(
        "query",
        [
            "UPDATE order_lines SET quantity = 2, line_total = 20",
            "UPDATE order_lines SET name = 'Black tea'",
            "UPDATE order_lines SET product_id = product_id",
            "DELETE FROM order_lines",
            "DELETE FROM order_lines WHERE position = 1",
            "TRUNCATE order_lines",
        ],
    )
    async def test_lines_neither_change_nor_go(
        self, sql: asyncpg.Connection, maria: Person, query: str
    ) -> None:
        await recorded(sql, maria)
        await refused(sql, "order_lines_are_final", query)

    async def test_nor_do_any_come(self, sql: asyncpg.Connection, maria: Person, chai: int) -> None:
        order_id = await recorded(sql, maria)
        await refused(
            sql,
            "orders_add_up",
            "INSERT INTO order_lines (order_id, product_id, position, name, quantity, unit_price,"
            " discount_pct, line_total) VALUES ($1, $2, 2, 'Chai', 1, 18, 100, 0)",
            order_id,
            chai,
        )

    async def test_lines_go_with_their_order(self, sql: asyncpg.Connection, maria: Person) -> None:
        gone, kept = await recorded(sql, maria), await recorded(sql, maria)
        await sql.execute("DELETE FROM orders WHERE id = $1", gone)
        assert [row["order_id"] for row in await sql.fetch("SELECT order_id FROM order_lines")] == [kept]


class TestStates:
    @pytest.mark.parametrize(("start", "target"), [*product(WAYS, STATUSES)])
    async def test_are_left_by_the_transitions_of_the_service_alone(
        self, sql: asyncpg.Connection, maria: Person, start: str, target: str
    ) -> None:
        await recorded(sql, maria, status=start)
        status = "cancelled" if start == "refund_due" else start
        valid = {(source, each.target) for each in TRANSITIONS.values() for source in each.sources}
        update = (
            "UPDATE orders SET refund_due = status = 'paid' AND $1 = 'cancelled', status = $1,"
            f" {target}_at = coalesce({target}_at, now())"
        )
        if status == target:
            return
        if (status, target) not in valid or (start, target) == ("cancelled", "refunded"):
            await refused(sql, "orders_move_is_legal", update, target)
        else:
            await sql.execute(update, target)
            assert await sql.fetchval("SELECT status FROM orders") == target

    @pytest.mark.parametrize(
        ("change", "name"),
        [
            ("status = 'paid'", "ck_orders_paid_at_once_paid"),
            ("paid_at = now()", "ck_orders_placed_is_unpaid"),
            ("refund_due = true", "ck_orders_refund_due_if_paid"),
        ],
    )
    async def test_come_with_their_moments(
        self, sql: asyncpg.Connection, maria: Person, change: str, name: str
    ) -> None:
        await recorded(sql, maria)
        await refused(sql, name, f"UPDATE orders SET {change}")


class TestEvents:
    @pytest.mark.parametrize(
        ("change", "name"),
        [
            ("events = '[]'", "orders_events_only_grow"),
            ("events = events || events", "orders_events_only_grow"),
            ("events = jsonb_set(events, '{0,by}', '\"system\"')", "orders_events_only_grow"),
            (
                """status = 'paid', paid_at = now(), events = '[{"status": "paid", "at": "", "by": ""}]'""",
                "orders_events_only_grow",
            ),
            (
                "status = 'paid', paid_at = now(), events = events || (events -> 0) || (events -> 0)",
                "orders_events_only_grow",
            ),
            (
                "status = 'paid', paid_at = now(), events = events || (events -> 0)",
                "ck_orders_last_event_is_state",
            ),
            (
                "status = 'paid', paid_at = now(), events = events || '{\"status\": \"paid\"}'",
                "ck_orders_last_event_complete",
            ),
        ],
    )
    async def test_only_grow_by_one_a_transition(
        self, sql: asyncpg.Connection, maria: Person, change: str, name: str
    ) -> None:
        await recorded(sql, maria)
        await refused(sql, name, f"UPDATE orders SET {change}")

    async def test_are_written_for_the_release_before(self, sql: asyncpg.Connection, maria: Person) -> None:
        """Which goes on until its last process is replaced, and knows nothing of them."""
        order_id = await recorded(sql, maria)
        await brought_to(sql, {"id": order_id}, "cancelled")
        order = (await maria.api.get(f"/orders/{order_id}")).json()
        assert order["events"] == [
            {"status": "placed", "at": order["placed_at"], "by": "unknown"},
            {"status": "cancelled", "at": order["cancelled_at"], "by": "unknown"},
        ]

    async def test_of_a_sale_are_the_services_own(self, make: Make, maria: Person, chai: int) -> None:
        order = await placed(maria, chai, ship_to=HOME)
        admin = await make.admin()
        paid = (await admin.api.post(f"/orders/{order['id']}/pay", json={"reference": "pi_1"})).json()
        assert [event["by"] for event in paid["events"]] == ["customer", "staff"]


#: Orders as the releases before left them: status, paid_at, shipped_at, delivered_at, cancelled_at,
#: refund_due, and whether they took stock.
BEFORE = """
    INSERT INTO users (email, full_name, password_hash) VALUES ('maria@shop.example', 'Maria', '-');
    INSERT INTO items (sku, name, price) VALUES ('T', 'Chai', 10);
    INSERT INTO orders (user_id, customer_name, status, shipping, subtotal, discount, shipping_fee, total,
        currency, placed_at, paid_at, shipped_at, delivered_at, cancelled_at, refund_due, version)
    SELECT users.id, 'Maria', status, 'standard', 10, 0, 0, 10, 'USD', '1996-07-04T02:00:00+02', paid,
        shipped, delivered, cancelled, due, 7
    FROM users, (VALUES
        (1, 'placed', NULL::timestamptz, NULL::timestamptz, NULL::timestamptz, NULL::timestamptz, false),
        (2, 'cancelled', NULL, NULL, NULL, '1996-07-05T00:00:00Z', false),
        (3, 'delivered', '1996-07-04T00:00:00Z', '1996-07-16T00:00:00Z', '1996-07-16T00:00:00Z', NULL, false),
        (4, 'cancelled', '1996-07-04T00:00:00Z', NULL, NULL, '2026-11-22T10:30:00.5Z', true),
        (5, 'paid', '1996-07-04T00:00:00Z', NULL, NULL, NULL, false),
        (6, 'shipped', NULL, NULL, NULL, NULL, false)
    ) AS given (number, status, paid, shipped, delivered, cancelled, due)
    ORDER BY number;
    INSERT INTO order_lines (order_id, product_id, position, name, quantity, unit_price, line_total)
    SELECT orders.id, items.id, 1, 'Chai', 1, 10, 10 FROM orders, items;
    INSERT INTO stock_movements (item_id, order_id, kind, delta, reason)
    SELECT items.id, orders.id, 'sale', -1, 'Order' FROM orders, items WHERE orders.id IN (1, 2, 6);
"""
START = "1996-07-04T00:00:00.000000Z"


class TestOrdersFromBefore:
    def test_get_the_timeline_of_their_timestamps(self) -> None:
        with cloned_database(template=None) as url:
            command.upgrade(config(url), "20261122_retries")
            statement(url, BEFORE)
            command.upgrade(config(url), "head")
            found = rows(url, "SELECT id, events, version FROM orders ORDER BY id")
            told = {
                order_id: [(event["status"], event["at"], event["by"]) for event in json.loads(timeline)]
                for order_id, timeline, _ in found
            }
            assert told == {
                1: [("placed", START, "unknown")],
                2: [("placed", START, "unknown"), ("cancelled", "1996-07-05T00:00:00.000000Z", "unknown")],
                3: [
                    ("placed", START, "import"),
                    ("paid", START, "import"),
                    ("shipped", "1996-07-16T00:00:00.000000Z", "import"),
                    ("delivered", "1996-07-16T00:00:00.000000Z", "import"),
                ],
                4: [
                    ("placed", START, "import"),
                    ("paid", START, "import"),
                    ("cancelled", "2026-11-22T10:30:00.500000Z", "unknown"),
                ],
                5: [("placed", START, "import"), ("paid", START, "import")],
                6: [("placed", START, "unknown"), ("paid", START, "unknown"), ("shipped", START, "unknown")],
            }
            assert {version for *_, version in found} == {7}
            moments = rows(url, "SELECT paid_at, shipped_at FROM orders WHERE id = 6")
            assert moments == [(datetime(1996, 7, 4, tzinfo=UTC),) * 2]

    def test_are_left_as_they_were_on_the_way_back(self) -> None:
        with cloned_database(template=None) as url:
            command.upgrade(config(url), "20261122_retries")
            statement(url, BEFORE)
            before = rows(url, "SELECT * FROM orders WHERE id < 6 ORDER BY id")
            command.upgrade(config(url), "head")
            command.downgrade(config(url), "20261122_retries")
            assert rows(url, "SELECT * FROM orders WHERE id < 6 ORDER BY id") == before
            left = "SELECT proname::text FROM pg_proc WHERE proname ~ 'order|totals|line'"
            left += " AND pronamespace = 'public'::regnamespace"
            assert rows(url, left) == []
