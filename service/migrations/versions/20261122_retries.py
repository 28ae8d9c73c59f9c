"""Safe retries: idempotency keys with the answers they guard.

Revision ID: 20261122_retries
Revises: 20261122_identity
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261122_retries"
down_revision = "20261122_identity"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("rights", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("caller", "route", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False)
    # A version counts all that a row shows, wherever it stands: the profile shows the address, and a post
    # the name of its author. Triggers, so that no statement can forget it.
    op.execute(
        """
        CREATE FUNCTION count_address() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE users SET version = version + 1 WHERE id = coalesce(NEW.user_id, OLD.user_id);
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER addresses_counted AFTER INSERT OR UPDATE OR DELETE ON addresses
        FOR EACH ROW EXECUTE FUNCTION count_address()
        """
    )
    op.execute(
        """
        CREATE FUNCTION count_author_name() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE posts SET version = version + 1 WHERE author_id = NEW.id;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER users_author_name_counted AFTER UPDATE OF full_name ON users
        FOR EACH ROW WHEN (OLD.full_name IS DISTINCT FROM NEW.full_name)
        EXECUTE FUNCTION count_author_name()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER users_author_name_counted ON users")
    op.execute("DROP FUNCTION count_author_name()")
    op.execute("DROP TRIGGER addresses_counted ON addresses")
    op.execute("DROP FUNCTION count_address()")
    op.drop_table("idempotency_keys")
