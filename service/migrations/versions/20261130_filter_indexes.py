"""Indexes for filters that few rows pass, which were looked for in the whole table.

Revision ID: 20261130_filter_indexes
Revises: 20261130_category_counts
"""

from alembic import op

revision = "20261130_filter_indexes"
down_revision = "20261130_category_counts"
branch_labels = None
depends_on = None

#: Those of few rows are small and quickly made. The others take seconds for a million rows, during which the
#: table takes no writes: who cannot have that makes them beforehand, by CREATE INDEX CONCURRENTLY.
INDEXES = {
    "ix_items_out_of_stock": "items (id) WHERE availability = 'out_of_stock'",
    "ix_items_withdrawn": "items (id) WHERE NOT is_active",
    "ix_items_category_price_id": "items (category, price, id)",
    "ix_posts_pending": "posts (id) WHERE status = 'pending'",
    "ix_users_admins": "users (id) WHERE is_admin",
    "ix_users_deactivated": "users (id) WHERE NOT is_active",
    "ix_users_email_trgm": "users USING gin (email gin_trgm_ops)",
    "ix_users_full_name_trgm": "users USING gin (full_name gin_trgm_ops)",
    "ix_webhook_deliveries_webhook_id_status_id": "webhook_deliveries (webhook_id, status, id)",
}


def upgrade() -> None:
    for name, definition in INDEXES.items():
        op.execute(
            "-- squawk-ignore require-concurrent-index-creation\n"
            f"CREATE INDEX IF NOT EXISTS {name} ON {definition}"
        )


def downgrade() -> None:
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
