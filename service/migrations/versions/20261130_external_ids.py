"""The ids that other systems, such as an ERP, have for orders, items and users.

Revision ID: 20261130_external_ids
Revises: 20261201_followed
"""

import sqlalchemy as sa
from alembic import op

revision = "20261130_external_ids"
down_revision = "20261201_followed"
branch_labels = None
depends_on = None

TABLES = ("orders", "items", "users")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("external_id", sa.Text(), nullable=True))
        # Of no row yet: PostgreSQL reads the table once, and writes nothing. What has no external id costs no
        # entry of the index later either.
        op.execute(
            "-- squawk-ignore require-concurrent-index-creation\n"
            f"CREATE UNIQUE INDEX uq_{table}_external_id ON {table} (external_id)"
            " WHERE external_id IS NOT NULL"
        )


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "external_id")
