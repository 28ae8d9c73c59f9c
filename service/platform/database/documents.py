"""JSON that PostgreSQL writes, and that is sent as it is: the bytes that pydantic writes for the same row.

    post = object_of(schemas.Post, Post.__table__.c, author_name=User.full_name)
    select(document(post), Post.id)

It is put together as text: PostgreSQL's own functions for JSON objects either put spaces into them or cost
more. Only texts, whose characters must be escaped, go through `to_json`. docs/adr/0037 has the figures.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from pydantic import BaseModel
from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    Integer,
    Label,
    LargeBinary,
    Numeric,
    Text,
    case,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by
from sqlalchemy.sql.base import ReadOnlyColumnCollection

_Text = ColumnElement[str]
#: RFC 3339 in UTC; without the fraction of a second where there is none.
_INSTANT: Final[_Text] = literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'""")
_NO_FRACTION: Final[tuple[_Text, _Text]] = (literal_column("'.000000Z'"), literal_column("'Z'"))
_UTC: Final[_Text] = literal_column("'UTC'")
_NULL: Final[_Text] = literal_column("'null'")


class Json(Text):
    """The type of text that is JSON already."""


def object_of(
    schema: type[BaseModel], columns: ReadOnlyColumnCollection[str, Any], **others: ColumnElement[Any]
) -> ColumnElement[str]:
    """An object with the fields of the schema in their order, each from the column of its name."""
    parts: list[Any] = []
    for name in _shown(schema):
        column = others[name] if name in others else columns[name]
        parts += [f'{"," if parts else "{"}"{name}":', *_value(column)]
    return _joined(*parts, "}")


def array_of(each: ColumnElement[str], order: Any) -> ColumnElement[str]:
    """An aggregate: the objects of all rows, in this order."""
    return _joined("[", func.string_agg(each, aggregate_order_by(literal_column("','"), order)), "]")


def stored_object(schema: type[BaseModel], stored: ColumnElement[Any]) -> ColumnElement[str]:
    """A document that a JSONB column holds, or null. PostgreSQL would write its members in another order."""
    return case((stored.is_(None), _NULL), else_=_stored(schema, stored))


def stored_array(schema: type[BaseModel], stored: ColumnElement[Any]) -> ColumnElement[str]:
    """The same for an array of documents."""
    each = func.jsonb_array_elements(stored, type_=JSONB).column_valued("stored")
    array = _joined("[", func.string_agg(_stored(schema, each), literal_column("','")), "]")
    return select(array).correlate(stored.table).scalar_subquery()


def document(json: ColumnElement[str]) -> Label[bytes]:
    """The column that has the bytes to be sent."""
    return func.convert_to(json, literal_column("'UTF8'"), type_=LargeBinary).label("document")


def array(rows: Iterable[Any]) -> bytes:
    """The documents of rows with that column, as one."""
    return b"[%b]" % b",".join([row["document"] for row in rows])


def with_member(document: bytes, name: str, value: bytes) -> bytes:
    """The object with one member more, which is its last."""
    return b'%b,"%b":%b}' % (document[:-1], name.encode(), value)


def _shown(schema: type[BaseModel]) -> Iterator[str]:
    return (name for name, field in schema.model_fields.items() if not field.exclude)


def _stored(schema: type[BaseModel], stored: ColumnElement[Any]) -> ColumnElement[str]:
    """Its members are no objects or arrays themselves."""
    parts: list[Any] = []
    for name in _shown(schema):
        member: ColumnElement[Any] = func.coalesce(stored.op("->")(literal_column(f"'{name}'")), _NULL)
        if schema.model_fields[name].annotation is datetime:
            member = func.replace(cast(member, Text), *(_NO_FRACTION))
        parts += [f'{"," if parts else "{"}"{name}":', member]
    return _joined(*parts, "}")


def _value(column: ColumnElement[Any]) -> tuple[Any, ...]:
    """The column as JSON. Raises TypeError for types whose form in JSON is not settled here."""
    kind, value, quoted = column.type, column, False
    if isinstance(kind, Numeric) and kind.scale is not None:
        value, quoted = cast(column, Text), True
    elif isinstance(kind, DateTime) and kind.timezone:
        value, quoted = func.replace(func.to_char(func.timezone(_UTC, column), _INSTANT), *_NO_FRACTION), True
    elif isinstance(kind, Boolean):
        value = cast(column, Text)
    elif isinstance(kind, Text) and not isinstance(kind, Json):
        value = func.to_json(column)
    elif not isinstance(kind, Integer | Json):
        raise TypeError(f"{column}: what is {kind!r} in JSON?")
    if getattr(column, "nullable", True):
        text = func.to_json(value) if quoted else cast(column, Text) if isinstance(kind, Integer) else value
        return (func.coalesce(text, _NULL),)
    return ('"', value, '"') if quoted else (value,)


def _joined(*parts: Any) -> ColumnElement[str]:
    """Neighbouring texts as one argument: a function takes at most a hundred."""
    arguments: list[Any] = []
    for is_text, run in groupby(parts, lambda part: isinstance(part, str)):
        neighbours = list(run)
        arguments += [literal_column(f"'{''.join(neighbours)}'")] if is_text else neighbours
    return func.concat(*arguments, type_=Json())
