"""Faults of every kind, planted past everything that would refuse them, and what `verify` says of each."""


def moved(order: str, kind: str, delta: int) -> str:
    return (
        "INSERT INTO stock_movements (item_id, order_id, kind, delta, reason)"
        f" VALUES ({{chai}}, {{{order}}}, '{kind}', {delta}, 'Again')"
    )


def adjusted(movement: int, delta: int) -> str:
    return (
        "INSERT INTO stock_movements (id, item_id, kind, delta, reason) OVERRIDING SYSTEM VALUE"
        f" VALUES ({movement}, {{chang}}, 'adjustment', {delta}, 'Water damage')"
    )


def added(table: str, **values: str) -> str:
    columns, texts = ", ".join(values), ", ".join(f"'{value}'" for value in values.values())
    return f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE VALUES ({texts})"


def changed(**values: str) -> str:
    """The key of the placed order, and the answer that is stored under it."""
    changes = ", ".join(f"{name} = {value}" for name, value in values.items())
    return f"UPDATE idempotency_keys SET {changes} WHERE headers ->> 'Location' = '/api/v1/orders/{{placed}}'"


EMPTIED = (
    "orders",
    "order_lines",
    "notifications",
    "stock_movements",
    "items",
    "item_words",
    "stock",
    "sessions",
)
#: Statements that break something, and everything that is then found.
PLANTED: dict[str, tuple[list[str], list[tuple[str, str, str]]]] = {
    "guards that are off": (
        [
            "ALTER TABLE orders DISABLE TRIGGER orders_guarded",
            "ALTER TABLE addresses DISABLE TRIGGER ALL",
            "ALTER TABLE posts ADD CONSTRAINT ck_posts_new CHECK (title <> '') NOT VALID",
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'uq_items_sku'::regclass",
        ],
        [
            ("guards", "addresses_counted of addresses", "it is off"),
            ("guards", "addresses_leave_erased_alone of addresses", "it is off"),
            ("guards", "ck_posts_new of posts", "it does not hold for the rows from before it"),
            ("guards", "fk_addresses_user_id_users of addresses", "it is off"),
            ("guards", "orders_guarded of orders", "it is off"),
            ("guards", "uq_items_sku of items", "it is not valid"),
        ],
    ),
    "constraints that are missing": (
        [
            "ALTER TABLE orders DROP CONSTRAINT ck_orders_total_adds_up",
            "ALTER TABLE mails DROP CONSTRAINT uq_mails_event_id_kind",
            "ALTER TABLE posts DROP CONSTRAINT fk_posts_author_id_users",
            "DROP INDEX uq_stock_movements_order_id_item_id_kind",
        ],
        [
            ("guards", "ck_orders_total_adds_up of orders", "it is missing"),
            ("guards", "fk_posts_author_id_users of posts", "it is missing"),
            ("guards", "uq_mails_event_id_kind of mails", "it is missing"),
            ("guards", "uq_stock_movements_order_id_item_id_kind of stock_movements", "it is missing"),
        ],
    ),
    "a line of another quantity": (
        [
            "UPDATE order_lines SET quantity = 1000, line_total = 18000 WHERE order_id = {placed}",
            "UPDATE orders SET subtotal = 18000, total = 18000 WHERE id = {placed}",
        ],
        [("sales", "order {placed}", "it took 2 of item {chai} from stock, and sold 1000")],
    ),
    "an order's subtotal and discount": (
        ["UPDATE orders SET subtotal = 40, discount = 4 WHERE id = {paid}"],
        [
            ("order_totals", "order {paid}", "discount is 4.00, its lines make 0.00"),
            ("order_totals", "order {paid}", "subtotal is 40.00, its lines make 36.00"),
        ],
    ),
    "an order's total": (
        ["UPDATE orders SET subtotal = 35.99, total = 35.99 WHERE id = {delivered}"],
        [("order_totals", "order {delivered}", "subtotal is 35.99, its lines make 36.00")],
    ),
    "an order without lines": (
        ["DELETE FROM order_lines WHERE order_id = {placed}"],
        [
            ("order_totals", "order {placed}", "subtotal is 36.00, its lines make 0.00"),
            ("sales", "order {placed}", "it took 2 of item {chai} from stock, and sold 0"),
        ],
    ),
    "stock that the ledger does not know of": (
        ["UPDATE stock SET quantity = quantity + 1 WHERE item_id = {chai}"],
        [("stock", "item {chai}", "stock is 13, its ledger makes 12")],
    ),
    "an item without stock": (
        ["DELETE FROM stock WHERE item_id = {chang}"],
        [("stock", "item {chang}", "stock is missing, its ledger makes 5")],
    ),
    "more sold than there was, and made good": (
        [
            *(adjusted(1000000, -6), adjusted(1000001, -1), adjusted(1000002, 7)),
            "ALTER SEQUENCE stock_movements_id_seq RESTART WITH 1000003",
        ],
        [("oversold", "item {chang}", "its ledger falls to -1 with movement 1000000")],
    ),
    "a sale that is in no ledger": (
        [
            "DELETE FROM stock_movements WHERE order_id = {placed}",
            "UPDATE stock SET quantity = quantity + 2 WHERE item_id = {chai}",
        ],
        [("sales", "order {placed}", "it took 0 of item {chai} from stock, and sold 2")],
    ),
    "a sale of another number": (
        [
            "UPDATE stock_movements SET delta = -3 WHERE order_id = {placed}",
            "UPDATE stock SET quantity = quantity - 1 WHERE item_id = {chai}",
        ],
        [("sales", "order {placed}", "it took 3 of item {chai} from stock, and sold 2")],
    ),
    "a sale of another item": (
        [
            "UPDATE stock_movements SET item_id = {chang} WHERE order_id = {placed}",
            "UPDATE stock SET quantity = quantity + 2 WHERE item_id = {chai}",
            "UPDATE stock SET quantity = quantity - 2 WHERE item_id = {chang}",
        ],
        [
            ("sales", "order {placed}", "it took 0 of item {chai} from stock, and sold 2"),
            ("sales", "order {placed}", "it took 2 of item {chang} from stock, and sold 0"),
        ],
    ),
    "a past order that took stock": (
        [
            moved("imported", "sale", -7),
            "UPDATE stock SET quantity = quantity - 7 WHERE item_id = {chai}",
        ],
        [("sales", "order {imported}", "it took 7 of item {chai} from stock, and sold 0")],
    ),
    "a cancellation that put nothing back": (
        [
            "DELETE FROM stock_movements WHERE order_id = {cancelled} AND kind = 'return'",
            "UPDATE stock SET quantity = quantity - 2 WHERE item_id = {chai}",
        ],
        [("returns", "order {cancelled}", "it put back 0 of item {chai}, and had to put back 2")],
    ),
    "a refund that put back too much": (
        [
            "UPDATE stock_movements SET delta = 3 WHERE order_id = {refunded} AND kind = 'return'",
            "UPDATE stock SET quantity = quantity + 1 WHERE item_id = {chai}",
        ],
        [("returns", "order {refunded}", "it put back 3 of item {chai}, and had to put back 2")],
    ),
    "a return of what was never cancelled": (
        [
            moved("shipped", "return", 2),
            "UPDATE stock SET quantity = quantity + 2 WHERE item_id = {chai}",
        ],
        [("returns", "order {shipped}", "it put back 2 of item {chai}, and had to put back 0")],
    ),
    "an availability that is out of date": (
        ["UPDATE items SET availability = 'out_of_stock' WHERE id = {chai}"],
        [("availability", "item {chai}", "it is shown as out_of_stock, its stock says in_stock")],
    ),
    "words of a name that are out of date": (
        ["UPDATE items SET name = 'Green tea' WHERE id = {chai}"],
        [("item_words", "item {chai}", "2 words of its name are missing, 1 are of another name")],
    ),
    "counts of categories that are out of date": (
        ["UPDATE items SET category = 'Tea' WHERE id = {chai}"],
        [("categories", "category of item {chai}", "its count is 0, its items make 1")],
    ),
    "a path that no order can take": (
        ["UPDATE orders SET events = jsonb_path_query_array(events, '$[0, 2]') WHERE id = {shipped}"],
        [
            ("order_timelines", "order {shipped}", "its timeline goes placed, shipped"),
            (
                "order_timelines",
                "order {shipped}",
                "paid_at is 2026-11-22T12:00:00.000000Z, its timeline says never",
            ),
        ],
    ),
    "a timeline that breaks off": (
        ["UPDATE orders SET events = jsonb_path_query_array(events, '$[0, 3]') WHERE id = {delivered}"],
        [
            ("order_timelines", "order {delivered}", "its timeline goes placed, delivered"),
            (
                "order_timelines",
                "order {delivered}",
                "paid_at is 2026-11-22T12:00:00.000000Z, its timeline says never",
            ),
            (
                "order_timelines",
                "order {delivered}",
                "shipped_at is 2026-11-22T13:00:00.000000Z, its timeline says never",
            ),
        ],
    ),
    "no timeline": (
        [
            "ALTER TABLE orders DROP CONSTRAINT ck_orders_last_event_is_state",
            "ALTER TABLE orders DROP CONSTRAINT ck_orders_last_event_complete",
            "UPDATE orders SET events = '{{}}' WHERE id = {placed}",
        ],
        [
            ("guards", "ck_orders_last_event_complete of orders", "it is missing"),
            ("guards", "ck_orders_last_event_is_state of orders", "it is missing"),
            ("order_timelines", "order {placed}", "its timeline goes nowhere"),
            (
                "order_timelines",
                "order {placed}",
                "placed_at is 2026-11-22T11:00:00.000000Z, its timeline says never",
            ),
        ],
    ),
    "a stamp of another time": (
        ["UPDATE orders SET paid_at = '2026-11-22T12:00:00.000001Z' WHERE id = {paid}"],
        [
            (
                "order_timelines",
                "order {paid}",
                "paid_at is 2026-11-22T12:00:00.000001Z, its timeline says 2026-11-22T12:00:00.000000Z",
            ),
        ],
    ),
    "a transition before the one before": (
        [
            "UPDATE orders SET paid_at = '2026-11-22T10:00:00Z' WHERE id = {paid}",
            "UPDATE orders SET events = replace(events::text, 'T12:', 'T10:')::jsonb WHERE id = {paid}",
        ],
        [("order_timelines", "order {paid}", "it came to be paid before what was before")],
    ),
    "a transition by an unknown actor": (
        ["UPDATE orders SET events = jsonb_set(events, '{{0,by}}', '\"someone\"') WHERE id = {paid}"],
        [("order_timelines", "order {paid}", "it is unknown who made it placed")],
    ),
    "lines and movements without their order": (
        [
            "DELETE FROM orders WHERE id = {placed}",
            "DELETE FROM notifications",
            "DELETE FROM idempotency_keys",
        ],
        [
            (
                "references",
                "order_lines {placed}/{chai}",
                "order_id is {placed}, and orders has no such row",
            ),
            (
                "references",
                "stock_movements {movement}",
                "order_id is {placed}, and orders has no such row",
            ),
            ("sales", "order {placed}", "it took 2 of item {chai} from stock, and sold 0"),
        ],
    ),
    "what a person left": (
        [
            *(f"DELETE FROM {table}" for table in EMPTIED),
            "DELETE FROM idempotency_keys",
            added("addresses", user_id="999999", street="Obere Str. 57", city="Berlin", country="DE"),
            added("notifications", id="1", user_id="999999", kind="item.low_stock", title="", body=""),
            added("posts", id="1", author_id="999999", title="", body=""),
            added("sessions", id="1", user_id="999999"),
            "TRUNCATE refresh_tokens",
            added("refresh_tokens", hash="\\xab", session_id="999999"),
            added("audit_addresses", audit_id="999999", address="127.0.0.1"),
            "ALTER SEQUENCE posts_id_seq RESTART WITH 2",
        ],
        [
            ("references", "refresh_tokens (0,1)", "session_id is 999999, and sessions has no such row"),
            ("references", "notifications 1", "user_id is 999999, and users has no such row"),
            ("references", "posts 1", "author_id is 999999, and users has no such row"),
            ("references", "sessions 1", "user_id is 999999, and users has no such row"),
            ("references", "addresses 999999", "user_id is 999999, and users has no such row"),
            ("references", "audit_addresses 999999", "audit_id is 999999, and audit_log has no such row"),
        ],
    ),
    "a version of 0": (
        ["UPDATE items SET version = 0 WHERE id = {chai}"],
        [("versions", "items {chai}", "version is 0")],
    ),
    "a sequence that stands behind": (
        ["ALTER SEQUENCE orders_id_seq RESTART"],
        [("sequences", "orders", "the next id is 1, and there is {imported}")],
    ),
    "a notification of another customer's order": (
        ["UPDATE notifications SET data = '{{\"order_id\": 999999}}' WHERE kind = 'order.refunded'"],
        [
            (
                "notifications",
                "notification {notification}",
                "it notifies user {maria} of order 999999, which is not theirs",
            )
        ],
    ),
    "an answer that names an order which does not exist": (
        [changed(headers='\'{{"Location": "/api/v1/orders/999999"}}\'')],
        [
            (
                "idempotency_keys",
                "POST /api/v1/orders of user:{maria}, key {key}",
                "its answer names order 999999, which does not exist",
            )
        ],
    ),
    "an answer to a caller who does not exist": (
        [changed(caller="'user:999999'")],
        [
            (
                "idempotency_keys",
                "POST /api/v1/orders of user:999999, key {key}",
                "its answer names order {placed}, which is another customer's",
            ),
            (
                "idempotency_keys",
                "POST /api/v1/orders of user:999999, key {key}",
                "its caller does not exist",
            ),
        ],
    ),
    "a refusal that would be replayed": (
        [changed(status="409", body="NULL")],
        [
            (
                "idempotency_keys",
                "POST /api/v1/orders of user:{maria}, key {key}",
                "its answer is a refusal, 409",
            ),
            ("idempotency_keys", "POST /api/v1/orders of user:{maria}, key {key}", "its answer is not whole"),
        ],
    ),
}
