"""Give events an order that follows their commits, and new types, for the event feed.

Revision ID: 20261201_event_feed
Revises: 20261201_attribute_index
"""

import sqlalchemy as sa
from alembic import op

revision = "20261201_event_feed"
down_revision = "20261201_attribute_index"
branch_labels = None
depends_on = None

BEFORE = (
    "user.registered", "item.created", "item.updated", "item.low_stock", "order.placed", "order.paid",
    "order.shipped", "order.delivered", "order.cancelled", "post.published",
)  # fmt: skip
#: In the order of the model, for the text of the constraint.
AFTER = (
    "user.registered", "user.updated", "user.deactivated", "user.activated", "user.erased", "item.created",
    "item.updated", "item.withdrawn", "item.low_stock", "stock.changed", "order.placed", "order.updated",
    "order.redirected", "order.paid", "order.shipped", "order.delivered", "order.cancelled", "order.refunded",
    "post.created", "post.updated", "post.published", "post.deleted",
)  # fmt: skip
ADDED = tuple(each for each in AFTER if each not in BEFORE)


def upgrade() -> None:
    op.add_column("events", sa.Column("sequenced_at", sa.DateTime(timezone=True), nullable=True))
    # The events that are there get their places from the worker, in the order of their ids: to write each of
    # them here would hold up every change of the shop. The indexes take a second for a million events; who
    # cannot have that makes the column and them beforehand, by CREATE INDEX CONCURRENTLY.
    op.execute(
        "-- squawk-ignore require-concurrent-index-creation\n"
        "CREATE INDEX IF NOT EXISTS ix_events_unsequenced ON events (id) WHERE sequenced_at IS NULL"
    )
    op.execute(
        "-- squawk-ignore require-concurrent-index-creation\n"
        "CREATE UNIQUE INDEX IF NOT EXISTS uq_events_sequenced_at ON events (sequenced_at)"
        " WHERE sequenced_at IS NOT NULL"
    )
    op.create_table(
        "event_marks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("place", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_event_marks")),
    )
    # As sequence_changes: each statement sees what was committed before it began, so the second sees what the
    # holder of the lock before has written. An event that is locked, by the erasure of its user, waits for the
    # next call. The channel is that of the change feed, which wakes those who wait for events.
    op.execute(
        """
        CREATE FUNCTION sequence_events(most integer) RETURNS integer LANGUAGE plpgsql AS $$
        DECLARE given integer;
        BEGIN
            IF current_setting('transaction_read_only')::boolean
               OR (SELECT min(id) FROM events WHERE sequenced_at IS NULL) IS NULL THEN
                RETURN 0;
            END IF;
            PERFORM pg_advisory_xact_lock(hashtextextended('sequence_events', 0));
            WITH taken AS MATERIALIZED (
                SELECT id FROM events WHERE sequenced_at IS NULL ORDER BY id LIMIT most FOR UPDATE SKIP LOCKED
            ), placed AS (
                SELECT id, row_number() OVER (ORDER BY id) - 1 AS position FROM taken
            ), first AS MATERIALIZED (
                SELECT greatest(clock_timestamp(), interval '1 microsecond' + greatest(
                    (SELECT max(sequenced_at) FROM events WHERE sequenced_at IS NOT NULL),
                    (SELECT place FROM event_marks WHERE name = 'purged')
                )) AS place
            )
            UPDATE events SET sequenced_at = first.place + placed.position * interval '1 microsecond'
            FROM placed, first WHERE events.id = placed.id;
            GET DIAGNOSTICS given = ROW_COUNT;
            IF given > 0 THEN
                PERFORM pg_notify('tradepost_changes', '{"of": "events"}');
            END IF;
            RETURN given;
        END $$
        """
    )
    _set_types(AFTER)


def _set_types(types: tuple[str, ...]) -> None:
    # In one statement, so that no row is written unchecked in between, and the rows are read once: 0.1 s for
    # a million.
    ignored = "-- squawk-ignore constraint-missing-not-valid, ban-drop-constraint\n"
    op.execute(
        f"{ignored}ALTER TABLE events DROP CONSTRAINT ck_events_type_known,"
        f" ADD CONSTRAINT ck_events_type_known CHECK (type IN {types})"
    )


def downgrade() -> None:
    op.execute(f"DELETE FROM events WHERE type IN {ADDED}")
    _set_types(BEFORE)
    op.execute("DROP FUNCTION sequence_events(integer)")
    op.drop_table("event_marks")
    op.drop_index("uq_events_sequenced_at", "events")
    op.drop_index("ix_events_unsequenced", "events")
    op.drop_column("events", "sequenced_at")
