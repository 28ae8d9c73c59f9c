"""Tell the change feed of what public answers are made of: items, published posts and their authors' names.

Revision ID: 20261122_told_changes
Revises: 20261122_mails
"""

from alembic import op

revision = "20261122_told_changes"
down_revision = "20261122_mails"
branch_labels = None
depends_on = None

TOLD = ("items", "posts")


def upgrade() -> None:
    # One row that was changed or removed: its id. Anything else: all of them, in one word however many.
    op.execute(
        """
        CREATE FUNCTION tell_one() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('tradepost_changes', json_build_object('of', TG_TABLE_NAME, 'id', OLD.id)::text);
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        """
        CREATE FUNCTION tell_all() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('tradepost_changes', json_build_object('of', TG_ARGV[0])::text);
            RETURN NULL;
        END $$
        """
    )
    # Prices of a whole catalogue are changed by one statement: it is one word then, and not one a row.
    op.execute(
        """
        CREATE FUNCTION tell_rows() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            first bigint;
            last bigint;
        BEGIN
            SELECT min(id), max(id) INTO first, last FROM was;
            IF first = last THEN
                PERFORM pg_notify('tradepost_changes', json_build_object('of', TG_TABLE_NAME, 'id', first)::text);
            ELSIF first < last THEN
                PERFORM pg_notify('tradepost_changes', json_build_object('of', TG_TABLE_NAME)::text);
            END IF;
            RETURN NULL;
        END $$
        """
    )
    for event in ("update", "delete"):
        op.execute(
            f"CREATE TRIGGER items_{event}d AFTER {event.upper()} ON items REFERENCING OLD TABLE AS was"
            " FOR EACH STATEMENT EXECUTE FUNCTION tell_rows()"
        )
    # What waits for an administrator is in no public answer.
    op.execute(
        "CREATE TRIGGER posts_changed AFTER UPDATE ON posts FOR EACH ROW"
        " WHEN (OLD.status = 'published' OR NEW.status = 'published') EXECUTE FUNCTION tell_one()"
    )
    op.execute(
        "CREATE TRIGGER posts_removed AFTER DELETE ON posts FOR EACH ROW"
        " WHEN (OLD.status = 'published') EXECUTE FUNCTION tell_one()"
    )
    op.execute(
        "CREATE TRIGGER posts_added AFTER INSERT ON posts FOR EACH ROW"
        " WHEN (NEW.status = 'published') EXECUTE FUNCTION tell_all('posts')"
    )
    op.execute(
        "CREATE TRIGGER items_added AFTER INSERT ON items FOR EACH STATEMENT EXECUTE FUNCTION tell_all('items')"
    )
    op.execute(
        "CREATE TRIGGER users_renamed AFTER UPDATE OF full_name ON users FOR EACH ROW"
        " WHEN (OLD.full_name IS DISTINCT FROM NEW.full_name) EXECUTE FUNCTION tell_all('posts')"
    )
    for table in TOLD:
        op.execute(
            f"CREATE TRIGGER {table}_emptied AFTER TRUNCATE ON {table} FOR EACH STATEMENT"
            f" EXECUTE FUNCTION tell_all('{table}')"
        )


def downgrade() -> None:
    for table in TOLD:
        op.execute(f"DROP TRIGGER {table}_emptied ON {table}")
    op.execute("DROP TRIGGER users_renamed ON users")
    op.execute("DROP TRIGGER items_added ON items")
    for trigger in ("posts_added", "posts_removed", "posts_changed"):
        op.execute(f"DROP TRIGGER {trigger} ON posts")
    for event in ("update", "delete"):
        op.execute(f"DROP TRIGGER items_{event}d ON items")
    op.execute("DROP FUNCTION tell_rows")
    op.execute("DROP FUNCTION tell_all")
    op.execute("DROP FUNCTION tell_one")
