"""Indexes for lists of orders by their reference, and in the order of their last change and their total.

Revision ID: 20261201_order_lists
Revises: 20261201_event_feed
"""

from alembic import op

revision = "20261201_order_lists"
down_revision = "20261201_event_feed"
branch_labels = None
depends_on = None

#: They take seconds for a million rows, during which the table takes no writes: who cannot have that makes
#: them beforehand, by CREATE INDEX CONCURRENTLY.
INDEXES = {
    "ix_orders_reference_placed_at_id": "orders (reference, placed_at, id) WHERE reference IS NOT NULL",
    "ix_orders_updated_at_id": "orders (updated_at, id)",
    "ix_orders_total_id": "orders (total, id)",
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
