"""Checks of the schema, and of what holds for any table; from the models, so new tables are checked too."""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    LargeBinary,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects import postgresql

from service.migrations.tables import Base
from service.verification.repository.check import Check

#: References that no foreign key holds: child, column, parent.
_WITHOUT_KEY: Final = (("audit_addresses", "audit_id", "audit_log"),)


def _tables() -> Iterator[Table]:
    yield from sorted(Base.metadata.sorted_tables, key=lambda table: table.name)


def _place(table: Table, alias: str) -> str:
    """How a row of the table is named: by its key, or by its place on disk if the key is a hash."""
    keys = [key for key in table.primary_key.columns if not isinstance(key.type, DateTime | LargeBinary)]
    joined = ", '/', ".join(f"{alias}.{key.name}" for key in keys)
    return f"concat('{table.name} ', {joined or f'{alias}.ctid'})"


def _sort_key(table: Table, alias: str) -> str:
    first = next(iter(table.primary_key.columns))
    return f"{alias}.{first.name}" if first.type.python_type is int else "0"


_HERE: Final = "current_schema()::regnamespace"
_GUARDS: Final = f"""
    SELECT DISTINCT 0, concat(coalesce(conname, tgname), ' of ', tgrelid::regclass), 'it is off'
    FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
    LEFT JOIN pg_constraint ON pg_constraint.oid = tgconstraint
    WHERE relnamespace = {_HERE} AND tgenabled NOT IN ('O', 'A')
    UNION ALL
    SELECT 0, concat(conname, ' of ', conrelid::regclass), 'it does not hold for the rows from before it'
    FROM pg_constraint WHERE connamespace = {_HERE} AND NOT convalidated
    UNION ALL
    SELECT 0, concat(indexrelid::regclass, ' of ', indrelid::regclass), 'it is not valid'
    FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
    WHERE relnamespace = {_HERE} AND NOT indisvalid
    UNION ALL
    SELECT 0, concat(guard, ' of ', of_table), 'it is missing' FROM (VALUES %s) AS needed (guard, of_table)
    WHERE NOT EXISTS (
        SELECT FROM pg_constraint WHERE conrelid = to_regclass(of_table) AND conname = guard
        UNION ALL
        SELECT FROM pg_index WHERE indrelid = to_regclass(of_table) AND indexrelid = to_regclass(guard)
    )
"""


def _guards() -> Check:
    """Every constraint is there and in force, as it may not be after a restore."""
    names: Any = postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call]
    needed = [
        f"('{names.format_constraint(constraint)}', '{table.name}')"
        for table in _tables()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint | UniqueConstraint | ForeignKeyConstraint)
    ]
    unique = [
        f"('{index.name}', '{table.name}')" for table in _tables() for index in table.indexes if index.unique
    ]
    guards = f"pg_constraint WHERE connamespace = {_HERE}"
    triggers = f"pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE relnamespace = {_HERE}"
    faults = _GUARDS % ", ".join(sorted(needed + unique))
    return Check("guards", (guards, f"{triggers} AND NOT tgisinternal"), faults)


def _references() -> Check:
    """What refers to something refers to something that is there: foreign keys are held by triggers."""
    held = {
        (table.name, key.parent.name, key.column.table.name)
        for table in _tables()
        for key in table.foreign_keys
    }
    tables, parts = [], []
    for child, column, parent in sorted(held | set(_WITHOUT_KEY)):
        [key] = Base.metadata.tables[parent].primary_key.columns
        table = Base.metadata.tables[child]
        tables.append(child)
        parts.append(f"""
            SELECT {_sort_key(table, "child")}, {_place(table, "child")},
                format('{column} is %s, and {parent} has no such row', child.{column})
            FROM {child} AS child WHERE child.{column} IS NOT NULL
            AND NOT EXISTS (SELECT FROM {parent} AS parent WHERE parent.{key.name} = child.{column})
        """)
    return Check("references", tuple(dict.fromkeys(tables)), " UNION ALL ".join(parts))


def _versions() -> Check:
    tables = [table for table in _tables() if "version" in table.columns]
    parts = [
        f"SELECT id, {_place(table, table.name)}, format('version is %s', version)"
        f" FROM {table.name} WHERE version < 1"
        for table in tables
    ]
    return Check("versions", tuple(table.name for table in tables), " UNION ALL ".join(parts))


def _sequences() -> Check:
    """No sequence stands behind the ids that are there: the next row would have one of them."""
    tables = [table for table in _tables() if _has_sequence(table)]
    parts = [
        f"""
        SELECT 0, '{table.name}', format('the next id is %s, and there is %s', next, largest)
        FROM (SELECT last_value + is_called::int AS next FROM {table.name}_id_seq) AS sequence
        CROSS JOIN (SELECT max(id) AS largest FROM {table.name}) AS ids WHERE largest >= next
        """
        for table in tables
    ]
    return Check("sequences", tuple(table.name for table in tables), " UNION ALL ".join(parts))


def _has_sequence(table: Table) -> bool:
    key: Any = table.columns.get("id")
    return key is not None and any(isinstance(default, Identity) for default in (key.server_default,))


CHECKS: Final = (_guards(), _references(), _versions(), _sequences())
