"""Mails as rows: asked for in the transaction of their cause, sent by a worker.

Revision ID: 20261122_mails
Revises: 20261122_stream
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261122_mails"
down_revision = "20261122_stream"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mails",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("event_id", sa.BigInteger(), nullable=True),
        sa.Column("address", sa.LargeBinary(), nullable=True),
        sa.Column(
            "facts", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'queued'"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('queued', 'sending', 'sent', 'withheld', 'failed')",
            name=op.f("ck_mails_status_known"),
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_mails_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mails")),
        sa.UniqueConstraint("event_id", "kind", name=op.f("uq_mails_event_id_kind")),
    )
    op.create_index("ix_mails_user_id_created_at", "mails", ["user_id", "created_at"], unique=False)
    op.create_index("ix_mails_created_at", "mails", ["created_at"], unique=False)
    # Not for emails that a client requests by an address: the client must not notice whose it is.
    op.execute(
        "CREATE TRIGGER mails_leave_erased_alone BEFORE INSERT ON mails FOR EACH ROW"
        " WHEN (NEW.user_id IS NOT NULL) EXECUTE FUNCTION leave_erased_alone()"
    )
    # A mail that is tried several times has a token for each try, and counts once for its mailbox.
    op.add_column("mail_tokens", sa.Column("mail_id", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("mail_tokens", "mail_id")
    op.drop_table("mails")
