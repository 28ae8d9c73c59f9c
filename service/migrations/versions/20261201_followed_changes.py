"""Give the changes of orders, users and stock their places too, and say whose each row is.

Revision ID: 20261201_followed
Revises: 20261130_order_checks
"""

import sqlalchemy as sa
from alembic import op

revision = "20261201_followed"
down_revision = "20261130_order_checks"
branch_labels = None
depends_on = None

#: The tables whose changes are noted from now on: the kind that they are part of, and the columns with the
#: row's id and its owner's. An address is part of its user.
NOTED = {
    "orders": ("orders", "id", "user_id"),
    "stock": ("stock", "item_id", None),
    "users": ("users", "id", None),
    "addresses": ("users", "user_id", None),
}
INDEXES = {
    "ix_sequenced_changes_public": "sequenced_changes (kind, sequenced_at) WHERE public",
    "ix_sequenced_changes_owner": (
        "sequenced_changes (kind, owner_id, sequenced_at) WHERE owner_id IS NOT NULL"
    ),
}


def upgrade() -> None:
    op.add_column("pending_changes", sa.Column("owner_id", sa.BigInteger(), nullable=True))
    op.add_column("sequenced_changes", sa.Column("owner_id", sa.BigInteger(), nullable=True))
    op.create_table(
        "lost_changes",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("lost_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lost_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", "lost_until", name=op.f("pk_lost_changes")),
    )
    op.create_table(
        "change_backfills",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id_column", sa.Text(), nullable=False),
        sa.Column("owner_column", sa.Text(), nullable=True),
        sa.Column("done_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_change_backfills")),
    )
    # Posts that the public has seen are found without their author.
    op.execute(
        "UPDATE sequenced_changes SET owner_id = author_id FROM posts"
        " WHERE kind = 'posts' AND row_id = posts.id AND NOT public"
    )
    for name, definition in INDEXES.items():
        op.execute(f"-- squawk-ignore require-concurrent-index-creation\nCREATE INDEX {name} ON {definition}")
    _create_backfill()
    _create_functions(owned=True)
    for table, (kind, id_column, owner_column) in NOTED.items():
        _note(table, kind, id_column, owner_column)
        if table == kind:
            # What is there gets its places from the worker, a batch at a time: a million rows would keep the
            # tables locked for seconds.
            op.execute(
                "INSERT INTO change_backfills (kind, id_column, owner_column, done_until)"
                f" SELECT '{kind}', '{id_column}', {_literal(owner_column)}, 0"
                f" WHERE EXISTS (SELECT FROM {table})"
            )
    # Staff see an order with the address of its customer's account.
    op.execute(
        """
        CREATE FUNCTION note_orders_of_user() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO pending_changes (kind, row_id, public, owner_id)
            SELECT 'orders', id, false, user_id FROM orders WHERE user_id = NEW.id;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER users_note_orders AFTER UPDATE OF email ON users FOR EACH ROW"
        " WHEN (OLD.email IS DISTINCT FROM NEW.email) EXECUTE FUNCTION note_orders_of_user()"
    )


def _literal(name: str | None) -> str:
    return "NULL" if name is None else f"'{name}'"


def _note(table: str, kind: str, id_column: str, owner_column: str | None) -> None:
    """From here on no transaction writes to the table that has not met the triggers."""
    owner = f"coalesce(NEW.{owner_column}, OLD.{owner_column})" if owner_column else "NULL"
    op.execute(
        f"""
        CREATE FUNCTION note_change_of_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO pending_changes (kind, row_id, public, owner_id)
            VALUES ('{kind}', coalesce(NEW.{id_column}, OLD.{id_column}), false, {owner});
            RETURN NULL;
        END $$
        """
    )
    run = f"FOR EACH ROW {{when}} EXECUTE FUNCTION note_change_of_{table}()"
    op.execute(f"CREATE TRIGGER {table}_note_row AFTER INSERT OR DELETE ON {table} {run.format(when='')}")
    changed = run.format(when="WHEN (OLD.* IS DISTINCT FROM NEW.*)")
    op.execute(f"CREATE TRIGGER {table}_note_change AFTER UPDATE ON {table} {changed}")
    op.execute(
        f"CREATE TRIGGER {table}_note_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT"
        f" EXECUTE FUNCTION note_truncate('{kind}', '{id_column}')"
    )


def _create_functions(*, owned: bool) -> None:
    """`owned`: with the owner of each row; otherwise as the revision before has them."""
    owner, largest = (", owner_id", ", max(owner_id) AS owner_id") if owned else ("", "")
    kept = ", owner_id = coalesce(excluded.owner_id, known.owner_id)" if owned else ""
    backfilled = "AND NOT EXISTS (SELECT FROM change_backfills)" if owned else ""
    backfill = (
        "IF (SELECT min(id) FROM pending_changes) IS NULL THEN PERFORM backfill_changes(most); END IF;"
        if owned
        else ""
    )
    author = "CASE TG_TABLE_NAME WHEN 'posts' THEN (to_jsonb(coalesce(NEW, OLD)) ->> 'author_id')::bigint END"
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD IS DISTINCT FROM NEW THEN
                INSERT INTO pending_changes (kind, row_id, public{owner}) VALUES (
                    TG_TABLE_NAME, coalesce(NEW.id, OLD.id),
                    coalesce(to_jsonb(OLD) @> TG_ARGV[0]::jsonb, false)
                    OR coalesce(to_jsonb(NEW) @> TG_ARGV[0]::jsonb, false){f", {author}" if owned else ""});
            END IF;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        """
        CREATE OR REPLACE FUNCTION note_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            EXECUTE format('INSERT INTO pending_changes (kind, row_id, public) SELECT %L, %I, false FROM %I.%I',
                           coalesce(TG_ARGV[0], TG_TABLE_NAME), coalesce(TG_ARGV[1], 'id'),
                           TG_TABLE_SCHEMA, TG_TABLE_NAME);
            RETURN NULL;
        END $$
        """
    )
    # By min() an index is read, which leads past rows that were deleted and not vacuumed yet.
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION sequence_changes(most integer) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            IF current_setting('transaction_read_only')::boolean
               OR (SELECT min(id) FROM pending_changes) IS NULL {backfilled} THEN
                RETURN;
            END IF;
            PERFORM pg_advisory_xact_lock(hashtextextended('sequence_changes', 0));
            WITH taken AS (
                DELETE FROM pending_changes
                WHERE id = ANY (ARRAY(SELECT id FROM pending_changes ORDER BY id LIMIT most))
                RETURNING id, kind, row_id, public{owner}
            ), changed AS (
                SELECT kind, row_id, bool_or(public) AS public{largest},
                       row_number() OVER (PARTITION BY kind ORDER BY min(id)) - 1 AS place
                FROM taken GROUP BY kind, row_id
            ), first AS MATERIALIZED (
                SELECT kind, greatest(clock_timestamp(), interval '1 microsecond' + (
                    SELECT max(sequenced_at) FROM sequenced_changes WHERE sequenced_changes.kind = kinds.kind
                )) AS sequenced_at
                FROM (SELECT DISTINCT kind FROM changed) AS kinds
            )
            INSERT INTO sequenced_changes AS known (kind, row_id, sequenced_at, public{owner})
            SELECT kind, row_id, first.sequenced_at + place * interval '1 microsecond', changed.public{owner}
            FROM changed JOIN first USING (kind)
            ON CONFLICT (kind, row_id) DO UPDATE
            SET sequenced_at = excluded.sequenced_at, public = known.public OR excluded.public{kept};
            {backfill}
        END $$
        """
    )


def _create_backfill() -> None:
    # The rows of a table that were there before its triggers, noted as if they had just changed.
    op.execute(
        """
        CREATE FUNCTION backfill_changes(most integer) RETURNS void LANGUAGE plpgsql AS $$
        DECLARE
            next change_backfills;
            last bigint;
        BEGIN
            SELECT * INTO next FROM change_backfills ORDER BY kind LIMIT 1;
            IF next.kind IS NULL THEN
                RETURN;
            END IF;
            EXECUTE format('WITH known AS (SELECT %1$I AS id, %2$s AS owner_id FROM %3$I WHERE %1$I > $1'
                           ' ORDER BY %1$I LIMIT $2), noted AS (INSERT INTO pending_changes'
                           ' (kind, row_id, public, owner_id) SELECT %3$L, id, false, owner_id FROM known)'
                           ' SELECT max(id) FROM known',
                           next.id_column, coalesce(quote_ident(next.owner_column), 'NULL::bigint'), next.kind)
                INTO last USING next.done_until, most;
            UPDATE change_backfills SET done_until = last WHERE kind = next.kind AND last IS NOT NULL;
            DELETE FROM change_backfills WHERE kind = next.kind AND last IS NULL;
        END $$
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER users_note_orders ON users")
    op.execute("DROP FUNCTION note_orders_of_user()")
    for table in NOTED:
        for trigger in ("note_row", "note_change", "note_truncate"):
            op.execute(f"DROP TRIGGER {table}_{trigger} ON {table}")
        op.execute(f"DROP FUNCTION note_change_of_{table}()")
    _create_functions(owned=False)
    op.execute("DROP FUNCTION backfill_changes(integer)")
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
    op.execute("DELETE FROM pending_changes WHERE kind NOT IN ('items', 'posts')")
    op.execute("DELETE FROM sequenced_changes WHERE kind NOT IN ('items', 'posts')")
    op.drop_table("change_backfills")
    op.drop_table("lost_changes")
    op.drop_column("sequenced_changes", "owner_id")
    op.drop_column("pending_changes", "owner_id")
