"""Look up the known words of names by their index.

The triggers asked for the words that are not known yet by NOT EXISTS, which became a join with all known words:
a scan of the whole table for each item that was created or renamed, and a thousand of them for a batch of renamed
items. A subquery with LIMIT is not made a join of.

Revision ID: 20261201_known_words
Revises: 20261201_imports
"""

from alembic import op

revision = "20261201_known_words"
down_revision = "20261201_imports"
branch_labels = None
depends_on = None

ADDED = """
    INSERT INTO item_words (lexeme, length, item_id)
    SELECT unnest(lexemes_of_name(name)) AS lexeme, char_length(name) AS length, id FROM {rows}
    ORDER BY lexeme, length, id ON CONFLICT DO NOTHING
"""
KNOWN = """
    INSERT INTO name_words (word, lexeme)
    SELECT word, unnest(lexemes_of_name(word)) FROM (
        SELECT DISTINCT regexp_split_to_table(lower(name), '[^[:alnum:]]+') AS word FROM {rows}
    ) AS split
    WHERE char_length(word) >= 3 AND {unknown}
"""
REMOVED = """
    DELETE FROM item_words USING (
        SELECT unnest(lexemes_of_name(name)) AS lexeme, char_length(name) AS length, id FROM {rows}
    ) AS gone
    WHERE item_words.lexeme = gone.lexeme AND item_words.length = gone.length AND item_id = gone.id
"""
BY_INDEX = "(SELECT true FROM name_words WHERE name_words.word = split.word LIMIT 1) IS NULL"
BY_JOIN = "NOT EXISTS (SELECT FROM name_words WHERE name_words.word = split.word)"
NEW = "new_rows"
ONE_NEW = "(SELECT NEW.id, NEW.name) AS changed"
ONE_OLD = "(SELECT OLD.id, OLD.name) AS changed"


def upgrade() -> None:
    _replace(BY_INDEX)


def downgrade() -> None:
    _replace(BY_JOIN)


def _replace(unknown: str) -> None:
    for event, statements in (
        ("insert", [ADDED.format(rows=NEW), KNOWN.format(rows=NEW, unknown=unknown)]),
        (
            "rename",
            [
                REMOVED.format(rows=ONE_OLD),
                ADDED.format(rows=ONE_NEW),
                KNOWN.format(rows=ONE_NEW, unknown=unknown),
            ],
        ),
    ):
        op.execute(
            f"""
            CREATE OR REPLACE FUNCTION keep_item_words_on_{event}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                {";".join(statements)};
                RETURN NULL;
            END $$
            """
        )
