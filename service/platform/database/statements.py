"""Statements of SQLAlchemy as the driver runs them: a text, and which value stands at which place.

SQLAlchemy takes ten times as long to run a statement as the driver, so it writes the text and no more. A
statement is compiled once: one that a module keeps when it is first used, one that is built for a call when
its shape is. What SQLAlchemy would make of values on their way is left out; the types that need more than the
driver does are JSON and JSONB (`connections`), and others are refused when the statement is compiled.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from cachetools import LRUCache
from sqlalchemy import (
    ARRAY,
    JSON,
    BindParameter,
    Boolean,
    ColumnElement,
    Executable,
    Select,
    all_,
    any_,
    bindparam,
)
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.compiler import SQLCompiler

_DIALECT: Final = asyncpg.dialect()  # type: ignore[no-untyped-call]
#: The labels of statements in metrics, by the first four letters.
_OPERATIONS: Final = {name[:4].upper(): name for name in ("select", "insert", "update", "delete", "with")}
#: The shapes of what is built for a call, such as a list with some of its filters.
_SHAPES: Final = 1_000
#: SQLAlchemy converts values of these types, and the driver as well.
_CONVERTED: Final = (JSON, Boolean)
#: Of a parameter that has no value before the statement is run.
_REQUIRED: Final = object()


@dataclass(frozen=True, slots=True)
class Shape:
    """What statements have in common that differ in values alone."""

    text: str
    #: The parameters by their place in the text, and the keys that SQLAlchemy has for them.
    names: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    #: Whether it changes nothing, as far as can be seen.
    reads: bool = False
    #: Its label in metrics.
    operation: str = "other"


@dataclass(frozen=True, slots=True)
class Prepared:
    """`values` are those that stand in the statement, by the place of their parameter."""

    shape: Shape
    values: tuple[Any, ...] = ()

    def arguments(self, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """Raises TypeError where a value is missing."""
        names = self.shape.names
        found = tuple(map(parameters.get, names, self.values)) if parameters else self.values
        if any(value is _REQUIRED for value in found):
            missing = [name for name, value in zip(names, found, strict=True) if value is _REQUIRED]
            raise TypeError(f"the statement needs values for: {', '.join(missing)}")
        return found


_prepared: Final[WeakKeyDictionary[Executable, Prepared]] = WeakKeyDictionary()
#: A shape, and where its values are among the parameters of a statement.
_shapes: Final[LRUCache[object, tuple[Shape, tuple[int, ...]]]] = LRUCache(_SHAPES)


def any_of(column: Any, values: Iterable[Any]) -> ColumnElement[bool]:
    """Whether the column has one of these values: one text for any number of them, which IN has not."""
    found: ColumnElement[bool] = column == any_(_array(column, values))
    return found


def none_of(column: Any, values: Iterable[Any]) -> ColumnElement[bool]:
    """Whether the column has another value than these."""
    found: ColumnElement[bool] = column != all_(_array(column, values))
    return found


def _array(column: Any, values: Iterable[Any]) -> BindParameter[Any]:
    """Raises TypeError for a type with a length or a scale: the cast to it would cut the values."""
    if getattr(column.type, "length", None) or getattr(column.type, "precision", None):
        raise TypeError(f"values cast to {column.type} may match what is not equal")
    return bindparam(None, list(values), type_=ARRAY(column.type))


def prepare(statement: Executable | str) -> Prepared:
    if isinstance(statement, str):
        return Prepared(_shape(statement, ()))
    found = _prepared.get(statement)
    if found is None:
        found = _prepared[statement] = _prepare(statement)
    return found


def prepare_ahead(values: Iterable[object]) -> None:
    """Compile what statements there are among these, for processes that are forked later to share."""
    for value in values:
        if isinstance(value, Executable):
            # A part of a statement is none: it lacks values that it gets when it is used.
            with suppress(KeyError, TypeError, SQLAlchemyError):
                prepare(value)


def _prepare(statement: Any) -> Prepared:
    # The key that SQLAlchemy's own cache of compiled statements has, and the parameters in a fixed order.
    key = statement._generate_cache_key()  # noqa: SLF001 - there is no public way to it
    known = _shapes.get(key.key)
    if known is None:
        shape = _compile(statement)
        places = {bind.key: place for place, bind in enumerate(key.bindparams)}
        known = _shapes[key.key] = (shape, tuple(places[name] for name in shape.keys))
    shape, found = known
    return Prepared(shape, tuple(_value(key.bindparams[place]) for place in found))


def _compile(statement: Any) -> Shape:
    compiled: SQLCompiler = statement.compile(dialect=_DIALECT)
    if compiled.insert_prefetch or compiled.update_prefetch:
        raise TypeError(
            "a default of Python's is not run: give the value, or the column a default of the server"
        )
    names = compiled.positiontup or ()
    binds = [compiled.binds[name] for name in names]
    for bind in binds:
        _refuse_unknown(bind)
    return _shape(compiled.string, names, [bind.key for bind in binds], reads=isinstance(statement, Select))


def _shape(text: str, names: Iterable[str], keys: Iterable[str] = (), *, reads: bool = False) -> Shape:
    first = text.lstrip()[:6].upper()
    operation = _OPERATIONS.get(first[:4], "other")
    return Shape(text, tuple(names), tuple(keys), reads or first == "SELECT", operation)


def _refuse_unknown(bind: BindParameter[Any]) -> None:
    """Raises TypeError for what the driver would not take as SQLAlchemy hands it on."""
    if bind.expanding or bind.literal_execute:
        raise TypeError("IN with values has a text for each number of them: use any_of")
    kind = bind.type.dialect_impl(_DIALECT)
    item = kind.item_type if isinstance(kind, ARRAY) else kind
    if not isinstance(item, _CONVERTED) and item.dialect_impl(_DIALECT).bind_processor(_DIALECT) is not None:
        raise TypeError(f"{bind.key}: values of type {bind.type!r} need more than the driver does")


def _value(bind: BindParameter[Any]) -> Any:
    return _REQUIRED if bind.required else bind.effective_value
