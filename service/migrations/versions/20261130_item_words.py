"""The words of items' names, so that a search finds the best of many matches without ranking all of them.

Revision ID: 20261130_item_words
Revises: 20261130_filter_indexes
"""

import sqlalchemy as sa
from alembic import op

revision = "20261130_item_words"
down_revision = "20261130_filter_indexes"
branch_labels = None
depends_on = None

ADDED = """
    INSERT INTO item_words (lexeme, length, item_id)
    SELECT unnest(lexemes_of_name(name)) AS lexeme, char_length(name) AS length, id FROM {rows}
    ORDER BY lexeme, length, id ON CONFLICT DO NOTHING
"""
#: Only added, and without a unique index: a writer waits for no other, and a word that two add at once is
#: there twice, which does no harm. Words whose items are gone stay, and find nothing.
KNOWN = """
    INSERT INTO name_words (word, lexeme)
    SELECT word, unnest(lexemes_of_name(word)) FROM (
        SELECT DISTINCT regexp_split_to_table(lower(name), '[^[:alnum:]]+') AS word FROM {rows}
    ) AS split
    WHERE char_length(word) >= 3 AND NOT EXISTS (SELECT FROM name_words WHERE name_words.word = split.word)
"""
REMOVED = """
    DELETE FROM item_words USING (
        SELECT unnest(lexemes_of_name(name)) AS lexeme, char_length(name) AS length, id FROM {rows}
    ) AS gone
    WHERE item_words.lexeme = gone.lexeme AND item_words.length = gone.length AND item_id = gone.id
"""
NEW, OLD = "new_rows", "old_rows"
ONE_NEW = "(SELECT NEW.id, NEW.name) AS changed"
ONE_OLD = "(SELECT OLD.id, OLD.name) AS changed"
#: Of each event the statements, and when the trigger runs them. A change of a name is rare, and of any other
#: column frequent: a trigger for each row can tell them apart before it runs anything.
TRIGGERS = {
    "insert": (
        [ADDED.format(rows=NEW), KNOWN.format(rows=NEW)],
        f"AFTER INSERT ON items REFERENCING NEW TABLE AS {NEW} FOR EACH STATEMENT",
    ),
    "rename": (
        [REMOVED.format(rows=ONE_OLD), ADDED.format(rows=ONE_NEW), KNOWN.format(rows=ONE_NEW)],
        "AFTER UPDATE OF name ON items FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name)",
    ),
    "delete": (
        [REMOVED.format(rows=OLD)],
        f"AFTER DELETE ON items REFERENCING OLD TABLE AS {OLD} FOR EACH STATEMENT",
    ),
    "truncate": (["DELETE FROM item_words"], "AFTER TRUNCATE ON items FOR EACH STATEMENT"),
}


def upgrade() -> None:
    op.create_table(
        "item_words",
        sa.Column("lexeme", sa.Text(), nullable=False),
        sa.Column("length", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("item_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("lexeme", "length", "item_id", name=op.f("pk_item_words")),
    )
    op.create_table(
        "name_words",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("lexeme", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_name_words")),
    )
    op.create_index("ix_name_words_word", "name_words", ["word"])
    op.create_index(
        "ix_name_words_trgm",
        "name_words",
        ["word"],
        postgresql_using="gin",
        postgresql_ops={"word": "gin_trgm_ops"},
    )
    # As the search takes the name apart, and each run of letters and digits by itself: of "shop.example/tea"
    # the parser makes one word. And what it leaves out as too common ("The Who"), as it is written.
    op.execute(
        """
        CREATE FUNCTION lexemes_of_name(name text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT AS $$
            SELECT tsvector_to_array(
                to_tsvector('english', name || ' ' || regexp_replace(name, '[^[:alnum:]]+', ' ', 'g'))
            ) || ARRAY(
                SELECT DISTINCT word FROM regexp_split_to_table(lower(name), '[^[:alnum:]]+') AS word
                WHERE char_length(word) >= 3 AND to_tsvector('english', word) = ''
            )
        $$
        """
    )
    for event, (statements, moment) in TRIGGERS.items():
        op.execute(
            f"""
            CREATE FUNCTION keep_item_words_on_{event}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                {";".join(statements)};
                RETURN NULL;
            END $$
            """
        )
        op.execute(
            f"CREATE TRIGGER items_keep_words_on_{event} {moment} EXECUTE FUNCTION keep_item_words_on_{event}()"
        )
    # No transaction writes to the table any more that has not met the triggers.
    op.execute(ADDED.format(rows="items"))
    op.execute(KNOWN.format(rows="items"))


def downgrade() -> None:
    for event in TRIGGERS:
        op.execute(f"DROP TRIGGER items_keep_words_on_{event} ON items")
        op.execute(f"DROP FUNCTION keep_item_words_on_{event}")
    op.execute("DROP FUNCTION lexemes_of_name(text)")
    op.drop_table("name_words")
    op.drop_table("item_words")
