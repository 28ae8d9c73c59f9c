"""The column `metadata` of a table: what the shop's other systems keep with a row (docs/adr/0059).

It is the JSON that is sent, as text. What has none costs nothing: the limits are not looked at, and the index
has no entry.
"""

from typing import Any, Final

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    Index,
    Text,
    bindparam,
    cast,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import MappedColumn, mapped_column

from service.platform.database.documents import Json

EMPTY: Final = "{}"
MAX_KEYS: Final = 50
MAX_KEY: Final = 40
MAX_VALUE: Final = 500
#: Of the JSON text, in UTF-8.
MAX_BYTES: Final = 8_192
#: PostgreSQL's expressions repeat nothing more than 255 times.
_TOO_LONG: Final = "^(.{250}){2}."
LIMITS: Final = f"""metadata = '{EMPTY}' OR (
    json_typeof(metadata::json) = 'object' AND octet_length(metadata) <= {MAX_BYTES}
    AND jsonb_array_length(jsonb_path_query_array(metadata::jsonb, '$.keyvalue()')) <= {MAX_KEYS}
    AND NOT metadata::jsonb
        @? 'strict $.* ? (@.type() <> "string" || @ like_regex "{_TOO_LONG}" flag "s")'
)"""


def metadata_column() -> MappedColumn[str]:
    """Mapped as `metadata_`: SQLAlchemy has another `metadata`."""
    return mapped_column("metadata", Json, server_default=text(f"'{EMPTY}'"))


def metadata_rules(table: str) -> tuple[CheckConstraint, Index]:
    """Among the arguments of a table that has the column."""
    index = Index(
        f"ix_{table}_metadata",
        literal_column("(metadata::jsonb)").label("members"),
        postgresql_using="gin",
        postgresql_ops={"members": "jsonb_path_ops"},
        postgresql_where=text(f"metadata <> '{EMPTY}'"),
    )
    return CheckConstraint(LIMITS, name="metadata_in_limits"), index


def has_metadata(table: Any, wanted: str | None = None) -> ColumnElement[bool]:
    """Whether a row's metadata has all of this JSON, or of the parameter `metadata`.

    The rows are looked for apart, by the index: PostgreSQL takes one in a hundred to have whatever is asked
    for, and would go through a list in its order until a page is full, to its end for a rare value. OFFSET
    keeps it from joining the two.
    """
    row = table.alias("with_metadata").c
    value = bindparam("metadata", type_=Text) if wanted is None else literal(wanted, Text)
    found = cast(row["metadata"], JSONB).contains(cast(value, JSONB))
    rows = select(row.id).where(row["metadata"] != literal_column(f"'{EMPTY}'"), found)
    is_one: ColumnElement[bool] = table.c.id.in_(rows.offset(literal_column("0")))
    return is_one
