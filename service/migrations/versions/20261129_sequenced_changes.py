"""Give the changes of items and posts an order that follows their commits, for clients that poll.

Revision ID: 20261129_sequenced
Revises: 20261129_mailbox_limit
"""

import sqlalchemy as sa
from alembic import op

revision = "20261129_sequenced"
down_revision = "20261129_mailbox_limit"
branch_labels = None
depends_on = None

#: The tables that are polled, and which of their rows the public sees.
KINDS = {"items": '{"is_active": true}', "posts": '{"status": "published"}'}


def upgrade() -> None:
    op.create_table(
        "pending_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("row_id", sa.BigInteger(), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pending_changes")),
    )
    op.create_table(
        "sequenced_changes",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("row_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequenced_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "row_id", name=op.f("pk_sequenced_changes")),
    )
    op.create_index(
        "uq_sequenced_changes_kind_sequenced_at", "sequenced_changes", ["kind", "sequenced_at"], unique=True
    )
    _create_functions()
    for table, public in KINDS.items():
        # From here on no transaction writes to the table that has not met the trigger.
        op.execute(
            f"CREATE TRIGGER {table}_note_change AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW"
            f" EXECUTE FUNCTION note_change('{public}')"
        )
        op.execute(
            f"CREATE TRIGGER {table}_note_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT"
            " EXECUTE FUNCTION note_truncate()"
        )
        _sequence_what_is_there(table, public)
    op.execute(
        "CREATE TRIGGER users_note_rename AFTER UPDATE OF full_name ON users FOR EACH ROW"
        " WHEN (OLD.full_name IS DISTINCT FROM NEW.full_name) EXECUTE FUNCTION note_rename()"
    )


def _create_functions() -> None:
    # In the transaction of the change, so that neither is there without the other. Only inserted, never
    # updated: a transaction that changes a row waits for none that sequences, and the other way round.
    op.execute(
        """
        CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD IS DISTINCT FROM NEW THEN
                INSERT INTO pending_changes (kind, row_id, public) VALUES (
                    TG_TABLE_NAME, coalesce(NEW.id, OLD.id),
                    coalesce(to_jsonb(OLD) @> TG_ARGV[0]::jsonb, false)
                    OR coalesce(to_jsonb(NEW) @> TG_ARGV[0]::jsonb, false));
            END IF;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        """
        CREATE FUNCTION note_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            EXECUTE format('INSERT INTO pending_changes (kind, row_id, public) SELECT %L, id, false FROM %I.%I',
                           TG_TABLE_NAME, TG_TABLE_SCHEMA, TG_TABLE_NAME);
            RETURN NULL;
        END $$
        """
    )
    # A post shows its author's name.
    op.execute(
        """
        CREATE FUNCTION note_rename() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO pending_changes (kind, row_id, public)
            SELECT 'posts', id, status = 'published' FROM posts WHERE author_id = NEW.id;
            RETURN NULL;
        END $$
        """
    )
    # Each statement in here sees what was committed before it began, so the second sees what the holder
    # of the lock before has written. A place is the time, or just after the last place where that is
    # later: what a restore or a failover has lost gives its places to no other change.
    op.execute(
        """
        CREATE FUNCTION sequence_changes(most integer) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            IF current_setting('transaction_read_only')::boolean
               OR NOT EXISTS (SELECT FROM pending_changes) THEN
                RETURN;
            END IF;
            PERFORM pg_advisory_xact_lock(hashtextextended('sequence_changes', 0));
            WITH taken AS (
                DELETE FROM pending_changes
                WHERE id = ANY (ARRAY(SELECT id FROM pending_changes ORDER BY id LIMIT most))
                RETURNING id, kind, row_id, public
            ), changed AS (
                SELECT kind, row_id, bool_or(public) AS public,
                       row_number() OVER (PARTITION BY kind ORDER BY min(id)) - 1 AS place
                FROM taken GROUP BY kind, row_id
            ), first AS MATERIALIZED (
                SELECT kind, greatest(clock_timestamp(), interval '1 microsecond' + (
                    SELECT max(sequenced_at) FROM sequenced_changes WHERE sequenced_changes.kind = kinds.kind
                )) AS sequenced_at
                FROM (SELECT DISTINCT kind FROM changed) AS kinds
            )
            INSERT INTO sequenced_changes AS known (kind, row_id, sequenced_at, public)
            SELECT kind, row_id, first.sequenced_at + place * interval '1 microsecond', changed.public
            FROM changed JOIN first USING (kind)
            ON CONFLICT (kind, row_id) DO UPDATE
            SET sequenced_at = excluded.sequenced_at, public = known.public OR excluded.public;
        END $$
        """
    )


def _sequence_what_is_there(table: str, public: str) -> None:
    """At `updated_at`, or just after the one before where that is later: no two have the same place."""
    op.execute(
        f"""
        WITH known AS (
            SELECT id, updated_at, row_number() OVER (ORDER BY updated_at, id) * interval '1 microsecond' AS place,
                   to_jsonb({table}) @> '{public}' AS public
            FROM {table}
        )
        INSERT INTO sequenced_changes (kind, row_id, sequenced_at, public)
        SELECT '{table}', id, place + max(updated_at - place) OVER (ORDER BY updated_at, id), public
        FROM known
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER users_note_rename ON users")
    for table in KINDS:
        op.execute(f"DROP TRIGGER {table}_note_truncate ON {table}")
        op.execute(f"DROP TRIGGER {table}_note_change ON {table}")
    for function in ("sequence_changes(integer)", "note_rename()", "note_truncate()", "note_change()"):
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("sequenced_changes")
    op.drop_table("pending_changes")
