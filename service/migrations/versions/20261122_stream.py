"""The live stream of notifications: single-use tickets, and the news of each row.

Revision ID: 20261122_stream
Revises: 20261122_webhooks
"""

import sqlalchemy as sa
from alembic import op

revision = "20261122_stream"
down_revision = "20261122_webhooks"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stream_tickets",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("token_ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
            name=op.f("fk_stream_tickets_session_id_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_stream_tickets")),
    )
    op.create_index("ix_stream_tickets_expires_at", "stream_tickets", ["expires_at"], unique=False)
    op.create_index("ix_stream_tickets_session_id", "stream_tickets", ["session_id"], unique=False)

    # One user's ids become visible in their order: a client that has seen one has seen, or can never see,
    # all that are smaller, and a stream can go on after any of them. So the id is drawn under a lock
    # that lasts until the COMMIT; the one that is there already was drawn before it. Statements that
    # notify several users go by user_id, or they would deadlock.
    op.execute(
        """
        CREATE FUNCTION announce_notification() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock(hashtextextended('notifications of ' || NEW.user_id, 0));
            NEW.id := nextval('notifications_id_seq');
            PERFORM pg_notify('tradepost_changes', json_build_object(
                'of', 'notifications', 'user_id', NEW.user_id, 'id', NEW.id)::text);
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER notifications_added BEFORE INSERT ON notifications FOR EACH ROW
        EXECUTE FUNCTION announce_notification()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER notifications_added ON notifications")
    op.execute("DROP FUNCTION announce_notification")
    op.drop_table("stream_tickets")
