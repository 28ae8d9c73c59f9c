"""Keep the number of items on sale of each category, so that no request has to count them.

Revision ID: 20261130_category_counts
Revises: 20261130_reserved_stock
"""

import sqlalchemy as sa
from alembic import op

revision = "20261130_category_counts"
down_revision = "20261130_reserved_stock"
branch_labels = None
depends_on = None

COUNTED = "is_active AND category <> ''"
#: What each statement adds to the counts, from its rows before and after.
CHANGES = {
    "insert": (
        "REFERENCING NEW TABLE AS after_rows",
        f"SELECT category, count(*) FROM after_rows WHERE {COUNTED} GROUP BY category",
    ),
    "update": (
        "REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows",
        f"""SELECT category, sum(delta) FROM (
                SELECT category, 1 AS delta FROM after_rows WHERE {COUNTED}
                UNION ALL SELECT category, -1 FROM before_rows WHERE {COUNTED}
            ) AS changed GROUP BY category HAVING sum(delta) <> 0""",
    ),
    "delete": (
        "REFERENCING OLD TABLE AS before_rows",
        f"SELECT category, -count(*) FROM before_rows WHERE {COUNTED} GROUP BY category",
    ),
}
NOTIFY = "PERFORM pg_notify('tradepost_changes', '{\"of\": \"category_counts\"}')"


def upgrade() -> None:
    op.create_table(
        "category_counts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("delta", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_category_counts")),
    )
    # Rows are only added, so a writer waits for no other. Every 64th adds the rows up: that deletes rows which
    # no other writer touches, and is left out while another does it. A transaction that sees an older state
    # than the newest could not delete what another has deleted, so it leaves that to the others.
    op.execute(
        """
        CREATE FUNCTION add_up_category_counts() RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            IF current_setting('transaction_isolation') = 'read committed'
               AND pg_try_advisory_xact_lock(hashtextextended('category_counts', 0)) THEN
                WITH taken AS (DELETE FROM category_counts RETURNING category, delta)
                INSERT INTO category_counts (category, delta)
                SELECT category, sum(delta) FROM taken GROUP BY category HAVING sum(delta) <> 0;
            END IF;
        END $$
        """
    )
    for event, (tables, changes) in CHANGES.items():
        op.execute(
            f"""
            CREATE FUNCTION count_categories_on_{event}() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE
                due boolean;
            BEGIN
                WITH added AS (
                    INSERT INTO category_counts (category, delta) {changes} RETURNING id
                ) SELECT bool_or(id % 64 = 0) INTO due FROM added;
                IF due IS NOT NULL THEN
                    {NOTIFY};
                END IF;
                IF due THEN
                    PERFORM add_up_category_counts();
                END IF;
                RETURN NULL;
            END $$
            """
        )
        op.execute(
            f"CREATE TRIGGER items_count_categories_on_{event} AFTER {event.upper()} ON items {tables}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION count_categories_on_{event}()"
        )
    op.execute(
        f"""
        CREATE FUNCTION count_categories_on_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            DELETE FROM category_counts;
            {NOTIFY};
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER items_count_categories_on_truncate AFTER TRUNCATE ON items FOR EACH STATEMENT"
        " EXECUTE FUNCTION count_categories_on_truncate()"
    )
    # No transaction writes to the table any more that has not met the triggers.
    op.execute(
        "INSERT INTO category_counts (category, delta)"
        f" SELECT category, count(*) FROM items WHERE {COUNTED} GROUP BY category"
    )


def downgrade() -> None:
    for event in (*CHANGES, "truncate"):
        op.execute(f"DROP TRIGGER items_count_categories_on_{event} ON items")
        op.execute(f"DROP FUNCTION count_categories_on_{event}")
    op.execute("DROP FUNCTION add_up_category_counts")
    op.drop_table("category_counts")
