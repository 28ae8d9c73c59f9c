"""When an order last changed, and when an item's low stock was last notified.

Revision ID: 20261130_reserved_stock
Revises: 20261129_sequenced
"""

import sqlalchemy as sa
from alembic import op

revision = "20261130_reserved_stock"
down_revision = "20261129_sequenced"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Orders of before count as changed now: to give each its own time would lock the table for long.
    op.add_column(
        "orders",
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.add_column("stock", sa.Column("low_stock_notified_at", sa.DateTime(timezone=True), nullable=True))
    # A trigger, for the release before goes on changing orders until it is replaced.
    op.execute(
        """
        CREATE FUNCTION touch_order() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.updated_at := greatest(clock_timestamp(), OLD.updated_at);
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER orders_touched BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch_order()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER orders_touched ON orders")
    op.execute("DROP FUNCTION touch_order")
    op.drop_column("stock", "low_stock_notified_at")
    op.drop_column("orders", "updated_at")
