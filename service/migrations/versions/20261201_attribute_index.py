"""Attributes of items in a form that can be searched, beside the items.

Revision ID: 20261201_attribute_index
Revises: 20261201_known_words
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "20261201_attribute_index"
down_revision = "20261201_known_words"
branch_labels = None
depends_on = None

ATTRIBUTES = "SELECT id, attributes::jsonb FROM {rows} WHERE attributes <> '{{}}'"
NUMBERS = """
    SELECT key, (value #>> '{{}}')::numeric AS value, id FROM {rows}, jsonb_each(attributes::jsonb)
    WHERE attributes <> '{{}}' AND jsonb_typeof(value) = 'number'
"""
ADDED = f"INSERT INTO item_attributes (item_id, attributes) {ATTRIBUTES}"
NUMBERS_ADDED = f"INSERT INTO item_numbers (name, value, item_id) {NUMBERS}"
NUMBERS_REMOVED = f"""
    DELETE FROM item_numbers USING ({NUMBERS}) AS gone (name, value, item_id)
    WHERE item_numbers.name = gone.name AND item_numbers.value = gone.value
        AND item_numbers.item_id = gone.item_id
"""
NEW, OLD = "new_rows", "old_rows"
ONE_NEW = "(SELECT NEW.id, NEW.attributes) AS changed"
ONE_OLD = "(SELECT OLD.id, OLD.attributes) AS changed"
#: Of each event the statements, and when the trigger runs them. Attributes seldom change, and other columns
#: often: a trigger for each row can tell them apart before it runs anything.
TRIGGERS = {
    "insert": (
        [ADDED.format(rows=NEW), NUMBERS_ADDED.format(rows=NEW)],
        f"AFTER INSERT ON items REFERENCING NEW TABLE AS {NEW} FOR EACH STATEMENT",
    ),
    "change": (
        [
            NUMBERS_REMOVED.format(rows=ONE_OLD),
            NUMBERS_ADDED.format(rows=ONE_NEW),
            "DELETE FROM item_attributes WHERE item_id = NEW.id",
            ADDED.format(rows=ONE_NEW),
        ],
        "AFTER UPDATE OF attributes ON items FOR EACH ROW WHEN (OLD.attributes IS DISTINCT FROM NEW.attributes)",
    ),
    "delete": (
        [
            NUMBERS_REMOVED.format(rows=OLD),
            f"DELETE FROM item_attributes USING {OLD} WHERE item_id = {OLD}.id",
        ],
        f"AFTER DELETE ON items REFERENCING OLD TABLE AS {OLD} FOR EACH STATEMENT",
    ),
    "truncate": (
        ["DELETE FROM item_numbers", "DELETE FROM item_attributes"],
        "AFTER TRUNCATE ON items FOR EACH STATEMENT",
    ),
}


def upgrade() -> None:
    op.create_table(
        "item_attributes",
        sa.Column("item_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attributes", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_item_attributes")),
    )
    op.create_table(
        "item_numbers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Numeric(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("name", "value", "item_id", name=op.f("pk_item_numbers")),
    )
    op.create_index(
        "ix_item_attributes_attributes",
        "item_attributes",
        ["attributes"],
        postgresql_using="gin",
        postgresql_ops={"attributes": "jsonb_path_ops"},
    )
    for event, (statements, moment) in TRIGGERS.items():
        op.execute(
            f"""
            CREATE FUNCTION keep_item_attributes_on_{event}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                {";".join(statements)};
                RETURN NULL;
            END $$
            """
        )
        op.execute(
            f"CREATE TRIGGER items_keep_attributes_on_{event} {moment}"
            f" EXECUTE FUNCTION keep_item_attributes_on_{event}()"
        )
    # No transaction writes to the table any more that has not met the triggers.
    op.execute(ADDED.format(rows="items"))
    op.execute(NUMBERS_ADDED.format(rows="items"))


def downgrade() -> None:
    for event in TRIGGERS:
        op.execute(f"DROP TRIGGER items_keep_attributes_on_{event} ON items")
        op.execute(f"DROP FUNCTION keep_item_attributes_on_{event}")
    op.drop_table("item_numbers")
    op.drop_table("item_attributes")
