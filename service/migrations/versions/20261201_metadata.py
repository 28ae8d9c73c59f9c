"""What the shop's other systems keep with orders, items, users and webhooks.

Revision ID: 20261201_metadata
Revises: 20261201_order_lists
"""

import sqlalchemy as sa
from alembic import op

revision = "20261201_metadata"
down_revision = "20261201_order_lists"
branch_labels = None
depends_on = None

TABLES = ("orders", "items", "users", "webhooks")
LIMITS = """metadata = '{}' OR (
    json_typeof(metadata::json) = 'object' AND octet_length(metadata) <= 8192
    AND jsonb_array_length(jsonb_path_query_array(metadata::jsonb, '$.keyvalue()')) <= 50
    AND NOT metadata::jsonb
        @? 'strict $.* ? (@.type() <> "string" || @ like_regex "^(.{250}){2}." flag "s")'
)"""


def upgrade() -> None:
    for table in TABLES:
        # With a constant default, no row is written. The release before leaves it out.
        op.add_column(table, sa.Column("metadata", sa.Text(), server_default="{}", nullable=False))
        # All rows have none: a million are looked at in a fraction of a second.
        op.execute(
            "-- squawk-ignore constraint-missing-not-valid\n"
            f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_metadata_in_limits CHECK ({LIMITS})"
        )
        # Of no row yet: PostgreSQL reads the table once, and writes nothing.
        op.execute(
            "-- squawk-ignore require-concurrent-index-creation\n"
            f"CREATE INDEX ix_{table}_metadata ON {table} USING gin ((metadata::jsonb) jsonb_path_ops)"
            " WHERE metadata <> '{}'"
        )


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "metadata")
