"""Rows of CSV (RFC 4180) that PostgreSQL writes, for spreadsheets.

    row_of({"id": Post.id, "title": Post.title}, zone=bindparam("time_zone"))

Spreadsheets take a text that begins as a formula does for one, and run it: such a text has an apostrophe
before it, as OWASP advises, which they show as nothing. Times are of a time zone, without an offset, for with
one they are no times to a spreadsheet. Amounts are exact.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    Integer,
    Numeric,
    Text,
    case,
    cast,
    func,
    literal_column,
)

#: The first characters of formulas, and of what a spreadsheet leaves out before one: tab, line feed, carriage
#: return, and the characters as wide as a Chinese one.
FORMULAS: Final = "=+-@\t\n\r\uff1d\uff0b\uff0d\uff20"
END: Final = "\r\n"
_TRIGGERS: Final[list[ColumnElement[int]]] = [literal_column(str(ord(each))) for each in FORMULAS]
_END: Final[ColumnElement[str]] = literal_column("E'\\r\\n'")
_COMMA: Final[ColumnElement[str]] = literal_column("','")
_QUOTE: Final[ColumnElement[str]] = literal_column("'\"'")
_TWO_QUOTES: Final[ColumnElement[str]] = literal_column("'\"\"'")
_APOSTROPHE: Final[ColumnElement[str]] = literal_column("''''")
_NOTHING: Final[ColumnElement[str]] = literal_column("''")
_FORMAT: Final[ColumnElement[str]] = literal_column("'YYYY-MM-DD HH24:MI:SS'")
#: A function takes a hundred arguments, and a cell is two.
_MOST_CELLS: Final = 40


def header(names: Iterable[str]) -> bytes:
    """The names are written as they are."""
    return (",".join(names) + END).encode()


def row_of(cells: Mapping[str, ColumnElement[Any]], *, zone: ColumnElement[str]) -> ColumnElement[str]:
    """A row with its end; null is an empty cell."""
    written = [_cell(each, zone) for each in cells.values()]
    parts = [_joined(written[at : at + _MOST_CELLS]) for at in range(0, len(written), _MOST_CELLS)]
    return func.concat(_joined(parts), _END, type_=Text)


def _joined(parts: Sequence[ColumnElement[Any]]) -> ColumnElement[str]:
    first, *rest = parts
    # `concat` writes null as nothing; `concat_ws` would leave its comma out too.
    return func.concat(first, *(each for part in rest for each in (_COMMA, part)), type_=Text)


def _cell(column: ColumnElement[Any], zone: ColumnElement[str]) -> ColumnElement[Any]:
    """Raises TypeError for types whose form is not settled here."""
    kind = column.type
    if isinstance(kind, Integer | Numeric):
        return column
    if isinstance(kind, Boolean):
        return cast(column, Text)
    if isinstance(kind, DateTime) and kind.timezone:
        return func.to_char(func.timezone(zone, column), _FORMAT)
    if isinstance(kind, Text):
        prefix = case((func.ascii(column).in_(_TRIGGERS), _APOSTROPHE), else_=_NOTHING)
        quoted = func.replace(column, _QUOTE, _TWO_QUOTES, type_=Text)
        # Null, if the text is.
        return _QUOTE.concat(prefix).concat(quoted).concat(_QUOTE)
    raise TypeError(f"{column}: what is {kind!r} in CSV?")
