"""Statements of SQLAlchemy that the driver runs: every type there and back, and one text for each shape."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Executable,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Uuid,
    bindparam,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from service.platform.config import Settings
from service.platform.database import Database, any_of, none_of
from service.platform.database import statements as module
from service.platform.database.statements import prepare, prepare_ahead

#: A type of a column, and a value of it.
VALUES: dict[str, tuple[Any, Any]] = {
    "integer": (Integer(), -5),
    "bigint": (BigInteger(), 2**63 - 1),
    "boolean": (Boolean(), True),
    "text": (Text(), "Käse 🧀 'x' \\"),
    "numeric": (Numeric(12, 2), Decimal("-1234567890.10")),
    "timestamp": (DateTime(timezone=True), datetime(1996, 7, 4, 1, 2, 3, 456789, tzinfo=UTC)),
    "date": (Date(), date(1996, 7, 4)),
    "interval": (Interval(), timedelta(days=3, microseconds=5)),
    "bytes": (LargeBinary(), b"\x00\xff"),
    "uuid": (Uuid(), UUID(int=7)),
    "jsonb": (JSONB(), {"a": [1, None, "ä"], "b": {}}),
    "json": (JSON(), {"b": 1.5, "a": True}),
    "texts": (ARRAY(Text), ["a", 'b"', ""]),
    "numbers": (ARRAY(Numeric(12, 2)), [Decimal("1.10"), None]),
    "documents": (ARRAY(JSONB), [{"a": 1}, None]),
}
THINGS = Table("things", MetaData(), Column("id", Integer, primary_key=True), Column("name", Text))


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    assert settings.database_url is not None
    one = Database(settings.database_url.get_secret_value(), settings)
    yield one
    assert one.pool_usage[0] == 0
    await one.close()


class TestTypes:
    @pytest.mark.parametrize("name", VALUES)
    async def test_a_value_comes_back_as_it_was(self, database: Database, name: str) -> None:
        kind, value = VALUES[name]
        async with database.reading() as session:
            found = await session.value(select(bindparam("value", type_=kind)), {"value": value})
        assert found == value
        assert type(found) is type(value) or isinstance(found, type(value))

    @pytest.mark.parametrize("name", VALUES)
    async def test_none_is_null(self, database: Database, name: str) -> None:
        """In JSON too: a null of JSON would be another value, which `IS NULL` does not find."""
        value = bindparam("value", type_=VALUES[name][0])
        async with database.reading() as session:
            row = await session.one(select(value, value.is_(None).label("is_null")), {"value": None})
        assert row is not None
        assert tuple(row) == (None, True)

    async def test_numbers_with_a_fraction_in_documents_are_numbers(self, database: Database) -> None:
        async with database.reading() as session:
            found = await session.value("""SELECT '{"a": 1.50}'::json""")
        assert found == {"a": 1.5}

    async def test_a_type_that_would_be_converted_is_refused(self, database: Database) -> None:
        """What SQLAlchemy would make of the value is not made of it."""
        kind = Enum("a", "b", name="letter")
        async with database.reading() as session:
            with pytest.raises(TypeError, match=r"values of type Enum\(.*\) need more than the driver does"):
                await session.value(select(bindparam("value", type_=kind)), {"value": "a"})

    async def test_a_value_that_the_driver_refuses_is_not_named(self, database: Database) -> None:
        """It may be personal, and an exception's text is logged."""
        async with database.reading() as session:
            with pytest.raises(TypeError) as refusal:
                await session.value(select(bindparam("n", type_=Integer)), {"n": "secret"})
        assert "secret" not in str(refusal.value)
        assert refusal.value.__suppress_context__


class TestShapes:
    def test_statements_that_differ_in_values_share_a_text(self) -> None:
        first, second = (prepare(select(THINGS.c.name).where(THINGS.c.id == n).limit(n)) for n in (5, 6))
        assert first.shape is second.shape
        assert (first.values, second.values) == ((5, 5), (6, 6))

    def test_a_statement_that_is_kept_is_prepared_once(self) -> None:
        statement = select(THINGS.c.name).where(THINGS.c.id == bindparam("id"))
        assert prepare(statement) is prepare(statement)

    def test_statements_that_a_module_keeps_are_compiled_ahead(self) -> None:
        kept, part = select(THINGS.c.id), update(THINGS).where(THINGS.c.id == 1)
        prepare_ahead([kept, THINGS, "SELECT 1", part, None])
        assert kept in module._prepared
        # It sets nothing yet: its values come where it is used.
        assert part not in module._prepared

    def test_shapes_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shapes = module._shapes
        for count in range(1, 2 * module._SHAPES):
            shapes[("made up", count)] = shapes[next(iter(shapes))]
        assert len(shapes) == module._SHAPES
        shapes.clear()

    @pytest.mark.parametrize(
        ("statement", "given", "found"),
        [
            (select(THINGS).where(THINGS.c.id == bindparam("id")), {"id": 3}, (3,)),
            (select(THINGS).where(THINGS.c.id == bindparam("id", 4)), {}, (4,)),
            (select(THINGS).where(THINGS.c.id == bindparam("id", 4)), {"id": None}, (None,)),
            (insert(THINGS).values(id=1, name="a"), {}, (1, "a")),
            (update(THINGS).where(THINGS.c.id == 1).values(name="b"), {}, ("b", 1)),
            (text("SELECT :b, :a, :b"), {"a": 1, "b": 2}, (2, 1)),
        ],
    )
    def test_values_stand_in_the_order_of_the_text(
        self, statement: Executable, given: dict[str, Any], found: tuple[Any, ...]
    ) -> None:
        assert tuple(prepare(statement).arguments(given)) == found

    def test_a_value_that_is_missing_is_named(self) -> None:
        statement = prepare(select(THINGS).where(THINGS.c.id == bindparam("id")))
        with pytest.raises(TypeError, match="the statement needs values for: id"):
            statement.arguments({})

    def test_in_with_values_is_refused(self) -> None:
        with pytest.raises(TypeError, match="use any_of"):
            prepare(select(THINGS).where(THINGS.c.id.in_([1, 2])))

    @pytest.mark.parametrize(("values", "inside"), [([], []), ([1], [1]), ([1, 3], [1, 3])])
    async def test_any_of_and_none_of(self, database: Database, values: list[int], inside: list[int]) -> None:
        numbers = select(text("n")).select_from(text("generate_series(1, 3) AS n"))
        column: Any = Column("n", Integer)
        async with database.reading() as session:
            assert await session.values(numbers.where(any_of(column, values))) == inside
            rest = [n for n in (1, 2, 3) if n not in inside]
            assert await session.values(numbers.where(none_of(column, values))) == rest

    @pytest.mark.parametrize("kind", [String(5), Numeric(5, 2)])
    def test_values_that_a_cast_would_cut_are_refused(self, kind: Any) -> None:
        with pytest.raises(TypeError, match="may match what is not equal"):
            any_of(Column("n", kind), ["abcdeXYZ"])

    def test_a_default_of_python_is_refused(self) -> None:
        """It would not be run, and the column would be NULL."""
        table = Table("t", MetaData(), Column("id", Integer), Column("d", Integer, default=7))
        with pytest.raises(TypeError, match="a default of the server"):
            prepare(insert(table).values(id=1))

    async def test_one_row_is_not_taken_for_many(self, database: Database) -> None:
        async with database.reading() as session:
            assert await session.one("SELECT 1 WHERE false") is None
            with pytest.raises(LookupError):
                await session.one("SELECT generate_series(1, 2)")
