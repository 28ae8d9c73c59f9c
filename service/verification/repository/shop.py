"""Checks of the shop: that money adds up, and that no unit is sold or put back twice."""

from typing import Final

from service.catalogue.models import AVAILABILITY
from service.orders.models import ACTORS, INSTANT
from service.verification.repository.check import Check

#: The states that an order can have passed, in this order.
PATHS: Final = (
    "placed",
    "placed, paid",
    "placed, paid, shipped",
    "placed, paid, shipped, delivered",
    "placed, cancelled",
    "placed, paid, cancelled",
    "placed, paid, cancelled, refunded",
)
#: Past orders took nothing from stock. Their timeline begins with the import.
_IMPORTED: Final = "(orders.events -> 0 ->> 'by' IS NOT DISTINCT FROM 'import')"

_ORDER_TOTALS: Final = """
    SELECT orders.id, format('order %s', orders.id), format('%s is %s, its lines make %s', name, stored, due)
    FROM orders LEFT JOIN (
        SELECT order_id, sum(unit_price * quantity) AS gross, sum(line_total) AS net
        FROM order_lines GROUP BY order_id
    ) AS lines ON lines.order_id = orders.id
    CROSS JOIN LATERAL (VALUES
        ('subtotal', subtotal, round(coalesce(gross, 0), 2)),
        ('discount', discount, round(coalesce(gross - net, 0), 2))
    ) AS amount (name, stored, due)
    WHERE stored <> due
"""

#: Times are compared as they are written, which sorts as they do.
_TIMELINES: Final = f"""
    SELECT orders.id, format('order %s', orders.id), found.fault FROM orders CROSS JOIN LATERAL (
        WITH entries AS MATERIALIZED (
            SELECT number, event ->> 'status' AS state, event ->> 'at' AS at, event ->> 'by' AS by,
                lag(event ->> 'at') OVER (ORDER BY number) AS before
            FROM jsonb_array_elements(
                CASE jsonb_typeof(events) WHEN 'array' THEN events ELSE '[]' END
            ) WITH ORDINALITY AS each (event, number)
        ), path AS (
            SELECT coalesce(string_agg(coalesce(state, '?'), ', ' ORDER BY number), 'nowhere') AS path
            FROM entries
        ), stamps AS (
            SELECT state, to_char(timezone('UTC', at), {INSTANT!r}) AS at FROM (VALUES
                ('placed', placed_at), ('paid', paid_at), ('shipped', shipped_at),
                ('delivered', delivered_at), ('cancelled', cancelled_at), ('refunded', refunded_at)
            ) AS stamp (state, at)
        )
        SELECT format('its timeline goes %s', path) AS fault FROM path WHERE path <> ALL (ARRAY{list(PATHS)})
        UNION ALL
        SELECT format('%s_at is %s, its timeline says %s', state, coalesce(stamps.at, 'never'),
            coalesce(entries.at, 'never'))
        FROM stamps FULL JOIN entries USING (state) WHERE stamps.at IS DISTINCT FROM entries.at
        UNION ALL
        SELECT format('it came to be %s before what was before', state) FROM entries
        WHERE at < before AND by <> 'import'
        UNION ALL
        SELECT format('it is unknown who made it %s', state) FROM entries
        WHERE (by IN {ACTORS}) IS NOT TRUE
    ) AS found
"""

_STOCK: Final = """
    SELECT items.id, format('item %s', items.id),
        format('stock is %s, its ledger makes %s', coalesce(quantity::text, 'missing'), coalesce(made, 0))
    FROM items LEFT JOIN stock ON stock.item_id = items.id LEFT JOIN (
        SELECT item_id, sum(delta) AS made FROM stock_movements GROUP BY item_id
    ) AS ledger ON ledger.item_id = items.id
    WHERE quantity IS DISTINCT FROM coalesce(made, 0)
"""

#: The ids of an item's movements are in the order of its locks.
_OVERSOLD: Final = """
    SELECT DISTINCT ON (item_id) item_id, format('item %s', item_id),
        format('its ledger falls to %s with movement %s', left_over, id)
    FROM (
        SELECT id, item_id, sum(delta) OVER (PARTITION BY item_id ORDER BY id) AS left_over
        FROM stock_movements
    ) AS course
    WHERE left_over < 0 ORDER BY item_id, id
"""

#: Categories are named by an item, or a row of the counts: their names are what users have written.
_CATEGORIES: Final = """
    SELECT coalesce(item, 0), coalesce('category of item ' || item, 'category_counts ' || row),
        format('its count is %s, its items make %s', coalesce(counted, 0), coalesce(items, 0))
    FROM (SELECT category, min(id) AS item, count(*) AS items
          FROM items WHERE is_active AND category <> '' GROUP BY category) AS items
    FULL JOIN (SELECT category, min(id) AS row, sum(delta) AS counted
               FROM category_counts GROUP BY category) AS counts USING (category)
    WHERE coalesce(counted, 0) <> coalesce(items, 0)
"""
_ITEM_WORDS: Final = """
    SELECT item_id, concat('item ', item_id), format(
        '%s words of its name are missing, %s are of another name',
        count(*) FILTER (WHERE kept IS NULL), count(*) FILTER (WHERE named IS NULL))
    FROM (SELECT unnest(lexemes_of_name(name)) AS lexeme, char_length(name) AS length, id AS item_id,
              true AS named FROM items) AS names
    FULL JOIN (SELECT lexeme, length, item_id, true AS kept FROM item_words) AS words
        USING (lexeme, length, item_id)
    WHERE named IS NULL OR kept IS NULL GROUP BY item_id
"""
_AVAILABILITY: Final = f"""
    SELECT items.id, format('item %s', items.id),
        format('it is shown as %s, its stock says %s', availability, {AVAILABILITY})
    FROM items JOIN stock ON stock.item_id = items.id WHERE availability <> {AVAILABILITY}
"""


def _moved(kind: str, sign: str) -> str:
    """What the ledger has of each order and item. A unique index holds that it is one movement."""
    return f"""
        SELECT order_id, item_id, {sign} delta AS units FROM stock_movements WHERE kind = '{kind}'
    """


def _against_ledger(due: str, ledger: str, fault: str) -> str:
    return f"""
        SELECT order_id, format('order %s', order_id),
            format('{fault}', coalesce(ledger.units, 0), item_id, coalesce(due.units, 0))
        FROM ({due}) AS due FULL JOIN ({ledger}) AS ledger USING (order_id, item_id)
        WHERE ledger.units IS DISTINCT FROM due.units
    """


_SALES: Final = _against_ledger(
    f"""
        SELECT order_id, product_id AS item_id, quantity AS units
        FROM order_lines JOIN orders ON orders.id = order_id WHERE NOT {_IMPORTED}
    """,
    _moved("sale", "-"),
    "it took %s of item %s from stock, and sold %s",
)

_RETURNS: Final = _against_ledger(
    f"""
        SELECT order_id, item_id, units FROM ({_moved("sale", "-")}) AS sold
        JOIN orders ON orders.id = order_id WHERE status IN ('cancelled', 'refunded')
    """,
    _moved("return", "+"),
    "it put back %s of item %s, and had to put back %s",
)

_NOTIFICATIONS: Final = """
    SELECT notifications.id, format('notification %s', notifications.id), format(
        'it notifies user %s of order %s, which is not theirs', notifications.user_id, data ->> 'order_id')
    FROM notifications
    LEFT JOIN orders ON orders.id = substring(data ->> 'order_id' FROM '^[0-9]{1,18}$')::bigint
    WHERE kind LIKE 'order.%' AND orders.user_id IS DISTINCT FROM notifications.user_id
"""

#: A stored answer is replayed: it must be of something that was done, to the caller who did it.
_KEYS: Final = """
    SELECT 0, format('%s of %s, key %s', route, caller, key), found.fault
    FROM (
        SELECT idempotency_keys.*,
            substring(headers ->> 'Location' FROM '/orders/([0-9]{1,18})$')::bigint AS order_id,
            substring(caller FROM '^user:([0-9]{1,18})$')::bigint AS user_id,
            substring(caller FROM '^key:([0-9]{1,18})$')::bigint AS key_id
        FROM idempotency_keys
    ) AS known
    LEFT JOIN orders ON orders.id = known.order_id
    LEFT JOIN users ON users.id = known.user_id
    LEFT JOIN api_keys ON api_keys.id = known.key_id
    CROSS JOIN LATERAL (
        SELECT format('its answer names order %s, which does not exist', order_id) AS fault
        WHERE order_id IS NOT NULL AND orders.id IS NULL
        UNION ALL
        SELECT format('its answer names order %s, which is another customer''s', order_id)
        WHERE orders.user_id <> known.user_id AND NOT 'administrator' = ANY (rights)
        UNION ALL
        SELECT 'its caller does not exist' WHERE users.id IS NULL AND api_keys.id IS NULL
        UNION ALL
        SELECT format('its answer is a refusal, %s', known.status) WHERE known.status >= 400
        UNION ALL
        SELECT 'its answer is not whole'
        WHERE known.status IS NOT NULL AND (headers IS NULL OR body IS NULL)
    ) AS found
"""

CHECKS: Final = (
    Check("order_totals", ("orders", "order_lines"), _ORDER_TOTALS),
    Check("order_timelines", ("orders",), _TIMELINES),
    Check("stock", ("stock", "stock_movements"), _STOCK),
    Check("oversold", ("stock_movements",), _OVERSOLD),
    Check("availability", ("items",), _AVAILABILITY),
    Check("categories", ("category_counts",), _CATEGORIES),
    Check("item_words", ("item_words",), _ITEM_WORDS),
    Check("sales", ("order_lines", "stock_movements"), _SALES),
    Check("returns", ("orders", "stock_movements"), _RETURNS),
    Check("notifications", ("notifications",), _NOTIFICATIONS),
    Check("idempotency_keys", ("idempotency_keys",), _KEYS),
)
