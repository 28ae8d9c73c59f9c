"""JSON put together in SQL, by the types of the columns. Whole responses are in tests/platform/http."""

from datetime import datetime
from typing import Annotated, Any, Final

import pytest
from pydantic import BaseModel, Field
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from service.container.api import Container
from service.platform.database.documents import (
    array_of,
    document,
    object_of,
    stored_array,
    stored_object,
)

KINDS: Final[dict[str, Any]] = {
    "words": Text(),
    "at": DateTime(timezone=True),
    "amount": Numeric(12, 2),
    "yes": Boolean(),
    "number": Integer(),
    "large": BigInteger(),
    "kept": JSONB(),
}
CREATE: Final = """
    CREATE TEMPORARY TABLE things (words text, at timestamptz, amount numeric(12, 2), yes boolean,
        number integer, large bigint, kept jsonb) ON COMMIT DROP
"""
ROW: Final = "('\"a\"\n', '2026-11-22T12:30:00+02', 7.50, true, 1, 9223372036854775807, NULL)"
KEPT: Final = '{"at": "2026-11-22T10:30:00.000000Z", "more": 1, "name": "b, \\": c"}'


class Thing(BaseModel):
    """In another order than the table, and without what is excluded."""

    large: int | None
    number: int | None
    yes: bool | None
    secret: Annotated[str | None, Field(exclude=True)] = None
    amount: str | None
    at: datetime | None
    words: str | None


class Word(BaseModel):
    words: str


class Kept(BaseModel):
    name: str
    at: datetime
    note: str | None


def table(*, nullable: bool) -> Table:
    return Table(
        "things", MetaData(), *(Column(name, kind, nullable=nullable) for name, kind in KINDS.items())
    )


THINGS: Final = table(nullable=True)


async def read(container: Container, json: Any, *rows: str, things: Table = THINGS) -> Any:
    """What is read of these rows, in a time zone that is not UTC."""
    async with container.database.transaction() as session:
        await session.execute("SET LOCAL TimeZone = 'America/St_Johns'")
        await session.execute(CREATE)
        for row in rows:
            await session.execute(f"INSERT INTO things VALUES {row}")
        return await session.value(select(document(json)).select_from(things))


@pytest.mark.parametrize("nullable", [True, False])
async def test_each_type_in_the_order_of_the_schema(container: Container, nullable: bool) -> None:
    things = table(nullable=nullable)
    assert await read(container, object_of(Thing, things.c), ROW, things=things) == (
        rb'{"large":9223372036854775807,"number":1,"yes":true,"amount":"7.50","at":"2026-11-22T10:30:00Z",'
        rb'"words":"\"a\"\n"}'
    )


async def test_null(container: Container) -> None:
    row = "(NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
    assert await read(container, object_of(Thing, THINGS.c), row) == (
        b'{"large":null,"number":null,"yes":null,"amount":null,"at":null,"words":null}'
    )


async def test_an_array_is_in_the_order_asked_for(container: Container) -> None:
    things = THINGS.c
    rows = [f"('{word}', NULL, NULL, NULL, {number})" for number, word in enumerate("bca")]
    each = object_of(Word, things)
    by_word, last_first = array_of(each, things.words), array_of(each, things.number.desc())
    assert await read(container, by_word, *rows) == b'[{"words":"a"},{"words":"b"},{"words":"c"}]'
    assert await read(container, last_first, *rows) == b'[{"words":"a"},{"words":"c"},{"words":"b"}]'
    assert await read(container, by_word) == b"[]"


@pytest.mark.parametrize(
    ("kept", "one", "many"),
    [
        ("NULL", b"null", b"[]"),
        (f"'{KEPT}'", b'{"name":"b, \\": c","at":"2026-11-22T10:30:00Z","note":null}', None),
        (
            f"'[{KEPT}, {KEPT}]'",
            None,
            b"[%b,%b]" % ((b'{"name":"b, \\": c","at":"2026-11-22T10:30:00Z","note":null}',) * 2),
        ),
        ("'[]'", None, b"[]"),
    ],
)
async def test_what_is_stored_as_json(
    container: Container, kept: str, one: bytes | None, many: bytes | None
) -> None:
    things, row = THINGS.c, f"(NULL, NULL, NULL, NULL, NULL, NULL, {kept})"
    if one is not None:
        assert await read(container, stored_object(Kept, things.kept), row) == one
    if many is not None:
        assert await read(container, stored_array(Kept, things.kept), row) == many


@pytest.mark.parametrize("kind", [Float(), JSONB(), ARRAY(Text()), DateTime(), Numeric()])
def test_what_has_no_one_form_in_json_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match="in JSON"):
        object_of(Word, Table("things", MetaData(), Column("words", kind)).c)


def test_a_field_without_a_column_is_refused() -> None:
    with pytest.raises(KeyError, match="words"):
        object_of(Word, Table("things", MetaData(), Column("word", Text)).c)
