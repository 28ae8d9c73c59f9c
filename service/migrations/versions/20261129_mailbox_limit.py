"""Mails with a token are counted by account: the index on their mailboxes has no reader left.

Revision ID: 20261129_mailbox_limit
Revises: 20261122_told_changes
"""

import sqlalchemy as sa
from alembic import op

revision = "20261129_mailbox_limit"
down_revision = "20261122_told_changes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A small table: its rows go within days, and the lock is held for a moment.
    op.execute("-- squawk-ignore require-concurrent-index-deletion\nDROP INDEX ix_mail_tokens_mailbox")


def downgrade() -> None:
    op.create_index(
        "ix_mail_tokens_mailbox", "mail_tokens", [sa.literal_column("lower(email)"), "created_at"]
    )
