"""Every list and filter of the API has an index that serves it: nothing is looked for in a whole table."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import asyncpg
import pytest
from pydantic import SecretStr

from service.container.api import Container
from service.platform.config import Settings
from service.platform.database import Session, connections
from service.platform.database.statements import Shape
from tests.conftest import for_sqlalchemy
from tests.helpers.application import app_of
from tests.helpers.client import Api
from tests.helpers.factories import Make, Person
from tests.server.process import cloned_database

ROWS, USERS = 5_000, 30_000
#: As much of each table as makes an index worth its while; what a filter finds is at the end.
FILLED = f"""
    SET session_replication_role = replica;
    INSERT INTO users (id, email, full_name, password_hash, is_active)
    OVERRIDING SYSTEM VALUE
        SELECT n, 'user' || n || '@shop.example', md5(n::text), '', n < {USERS} - 5
        FROM generate_series(1, {USERS}) AS n;
    INSERT INTO items (sku, name, category, price, availability, is_active)
        SELECT 'S' || n, md5(n::text), 'C' || n % 250, 1 + n,
            CASE WHEN n < {ROWS} - 20 THEN 'in_stock' ELSE 'out_of_stock' END, n <> {ROWS} - 7
        FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO orders (user_id, customer_name, status, shipping, subtotal, discount, shipping_fee, total,
            currency, placed_at, paid_at, events)
        SELECT 1 + n % 50, 'Maria', CASE WHEN n % 500 = 0 THEN 'placed' ELSE 'paid' END, 'standard',
            1, 0, 0, 1, 'USD', now() - ({ROWS} - n) * interval '1 minute',
            CASE WHEN n % 500 > 0 THEN now() END,
            jsonb_build_array(jsonb_build_object('by', 'staff', 'at', '2026-11-22T10:30:00.000000Z',
                'status', CASE WHEN n % 500 = 0 THEN 'placed' ELSE 'paid' END))
        FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO stock (item_id, quantity) SELECT id, 1 FROM items;
    INSERT INTO stock_movements (item_id, kind, delta, reason) SELECT id, 'initial', 1, '' FROM items;
    INSERT INTO order_lines (order_id, product_id, position, name, quantity, unit_price, line_total)
        SELECT id, 1, 1, 'Chai', 1, 1, 1 FROM orders;
    INSERT INTO posts (author_id, title, body, status)
        SELECT 1 + n % 500, 'Title', 'Body', CASE WHEN n = 7 THEN 'pending' ELSE 'published' END
        FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO notifications (user_id, kind, title, body, read_at)
        SELECT CASE WHEN n % 100 = 0 THEN 1000001 ELSE n END, 'order.placed', '', '',
            CASE WHEN n % 500 > 0 THEN now() END FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO audit_log (action, actor_id, target_kind, target_id, data, at)
        SELECT CASE WHEN n = 9 THEN 'item.created' ELSE 'signed_in' END, 1 + n % 500, 'user', 1 + n % 500,
            '{{}}', now() - ({ROWS} - n) * interval '1 minute'
        FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO webhooks (id, url, events, secret) OVERRIDING SYSTEM VALUE
        SELECT n, 'https://shop.example', '{{order.placed}}', '' FROM generate_series(1, 500) AS n;
    INSERT INTO webhook_deliveries (webhook_id, event_type, message_id, body, status)
        SELECT 1 + n % 500, 'order.placed', '', '', CASE WHEN n = 500 THEN 'failed' ELSE 'succeeded' END
        FROM generate_series(1, {ROWS}) AS n;
    SET session_replication_role = origin
"""
#: What an administrator asks, the table, and the index by which it must be answered.
ASKED = [
    ("/items", "items", "pk_items"),
    ("/items?sku=S77", "items", "uq_items_sku"),
    *((f"/items?sort={sign}{key}", "items", f"ix_items_{key}_id")
      for key in ("name", "price", "created_at", "updated_at") for sign in ("", "-")),
    ("/items?category=C7", "items", "ix_items_category_id"),
    ("/items?category=C7&sort=price", "items", "ix_items_category_price_id"),
    ("/items?category=C7&min_price=4800&max_price=4900&sort=price", "items", "ix_items_category_price_id"),
    ("/items?min_price=4800&max_price=4900&sort=price", "items", "ix_items_price_id"),
    ("/items?in_stock=true", "items", "pk_items"),
    ("/items?in_stock=false", "items", "ix_items_out_of_stock"),
    ("/items?in_stock=false&sort=price", "items", "ix_items_out_of_stock"),
    ("/items?is_active=false", "items", "ix_items_withdrawn"),
    ("/items?is_active=true", "items", "pk_items"),
    ("/orders", "orders", "ix_orders_placed_at_id"),
    ("/orders?user_id=7", "orders", "ix_orders_user_id_placed_at_id"),
    ("/orders?status=placed", "orders", "ix_orders_status_placed_at_id"),
    ("/orders?placed_from=2026-01-01&placed_until=2026-01-02", "orders",
     "ix_orders_placed_at_id"),
    ("/posts", "posts", "pk_posts"),
    ("/posts?status=pending", "posts", "ix_posts_pending"),
    ("/notifications", "notifications", "ix_notifications_user_id_id"),
    ("/notifications?unread=true", "notifications", "ix_notifications_unread"),
    ("/admin/users", "users", "pk_users"),
    ("/admin/users?is_admin=true", "users", "ix_users_admins"),
    ("/admin/users?is_active=false", "users", "ix_users_deactivated"),
    ("/admin/users?search=user4711", "users", "ix_users_email_trgm"),
    ("/admin/users?search=user4711", "users", "ix_users_full_name_trgm"),
    ("/admin/audit", "audit_log", "pk_audit_log"),
    ("/admin/audit?action=item.created", "audit_log", "ix_audit_log_action_id"),
    ("/admin/audit?actor_id=7", "audit_log", "ix_audit_log_actor_id_id"),
    ("/admin/audit?target_kind=user&target_id=7", "audit_log", "ix_audit_log_target"),
    ("/admin/audit?since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z", "audit_log", "ix_audit_log_at"),
    ("/admin/audit?request_id=abcdefgh", "audit_log", "ix_audit_log_request_id"),
    ("/webhooks/1/deliveries", "webhook_deliveries", "ix_webhook_deliveries_webhook_id_(status_)?id"),
    ("/webhooks/1/deliveries?status=failed", "webhook_deliveries",
     "ix_webhook_deliveries_webhook_id_status_id"),
    ("/items/7/stock", "stock_movements", "ix_stock_movements_item_id_id"),
]  # fmt: skip


@dataclass(frozen=True)
class Shop:
    admin: Person
    sql: asyncpg.Connection


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with cloned_database() as address:
        yield address


@pytest.fixture(scope="module")
async def shop(settings: Settings, url: str) -> AsyncIterator[Shop]:
    given = SecretStr(for_sqlalchemy(url))
    app = app_of(settings.model_copy(update={"database_url": given, "database_direct_url": given}))
    sql = await connections.connect(url)
    async with app.router.lifespan_context(app), Api.of(app) as api:
        container: Container = app.state.container
        await sql.execute(FILLED)
        await sql.execute("VACUUM ANALYZE")
        # The tables of a test are read faster as a whole than by some of the indexes.
        await sql.execute("SET enable_seqscan = off")
        await sql.execute("SELECT setval(pg_get_serial_sequence('users', 'id'), 1000000)")
        yield Shop(await Make(api, container).admin(), sql)
    await sql.close()


async def plans(shop: Shop, path: str) -> str:
    """How PostgreSQL runs what this request asks for, with its values."""
    asked: list[tuple[str, Any]] = []
    run = Session._run_on_connection

    async def noted(session: Session, shape: Shape, arguments: Any, method: Any) -> Any:
        asked.append((shape.text, arguments))
        return await run(session, shape, arguments, method)

    with patch.object(Session, "_run_on_connection", noted):
        assert (await shop.admin.api.get(path)).status_code == 200
    found = []
    for text, arguments in asked:
        if text.startswith("SELECT"):
            found += [row[0] for row in await shop.sql.fetch(f"EXPLAIN {text}", *arguments)]
    return "\n".join(found)


@pytest.mark.parametrize(("path", "table", "index"), ASKED)
async def test_lists_and_filters_use_an_index(shop: Shop, path: str, table: str, index: str) -> None:
    plan = await plans(shop, path)
    assert re.search(rf"\b{index}\b", plan), plan
    assert not re.search(rf"Seq Scan on {table}\b", plan), plan
