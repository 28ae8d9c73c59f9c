"""Check the amounts of an order once, and in one query for each of the two triggers.

Revision ID: 20261130_order_checks
Revises: 20261130_item_words
"""

from alembic import op

revision = "20261130_order_checks"
down_revision = "20261130_item_words"
branch_labels = None
depends_on = None

REFUSE = """
    RAISE EXCEPTION 'the amounts of order % are not the sums of its lines', wrong
    USING ERRCODE = 'check_violation', TABLE = 'orders', CONSTRAINT = 'orders_add_up';
"""


def upgrade() -> None:
    # Without lines the amounts are wrong, for `subtotal > 0`. Lines are checked when they are added, and never
    # change: of an order that comes with its lines, the sums were made twice. Subqueries that cannot become
    # joins: for a few orders, the planner might read a whole table.
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION refuse_orders_with_wrong_totals() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE wrong bigint := (
            SELECT id FROM changed
            WHERE (SELECT true FROM order_lines WHERE order_id = changed.id LIMIT 1) IS NULL LIMIT 1
        );
        BEGIN
            IF wrong IS NOT NULL THEN
                {REFUSE}
            END IF;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION refuse_lines_with_wrong_totals() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE wrong bigint := (
            SELECT order_id FROM (SELECT DISTINCT order_id FROM changed) AS touched
            WHERE (
                SELECT (subtotal, subtotal - discount) <> (
                    SELECT sum(unit_price * quantity), sum(line_total)
                    FROM order_lines WHERE order_id = orders.id
                )
                FROM orders WHERE id = touched.order_id
            ) LIMIT 1
        );
        BEGIN
            IF wrong IS NOT NULL THEN
                {REFUSE}
            END IF;
            RETURN NULL;
        END $$
        """
    )
    # `refuse_wrong_totals` stays: a transaction may be running the functions as they were.


def downgrade() -> None:
    for function, ids in (
        ("refuse_orders_with_wrong_totals", "SELECT id FROM changed"),
        ("refuse_lines_with_wrong_totals", "SELECT DISTINCT order_id FROM changed"),
    ):
        op.execute(
            f"""
            CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE given bigint;
            BEGIN
                FOR given IN {ids} LOOP
                    PERFORM refuse_wrong_totals(given);
                END LOOP;
                RETURN NULL;
            END $$
            """
        )
