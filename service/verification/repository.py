"""Checks of the whole database: each is a statement that finds the rows that cannot be.

They trust neither the application nor the database's own constraints, which a restore or an operator
can get round. Everything is reckoned inside PostgreSQL, which spills to disk; only the first faults
of each check come out. They name rows by their keys and never tell what a person has written.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import CheckConstraint, DateTime, Identity, LargeBinary, Table, text

from service.platform.database import Session
from service.verification.shop import SHOP, Check
from service.verification.tables import Base

#: How many faults of a check are told one by one.
MOST_TOLD: Final = 20
#: References that no foreign key holds: child, column, parent.
_UNHELD: Final = (("audit_addresses", "audit_id", "audit_log"),)


@dataclass(frozen=True, slots=True)
class Fault:
    place: str
    fault: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found: how many faults, and the first of them."""

    check: str
    rows: int
    faults: int
    first: tuple[Fault, ...]


async def begin_snapshot(session: Session) -> None:
    """Let everything that this transaction reads be of one moment. Must come first in it."""
    await session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))


async def look(session: Session, check: Check) -> Finding:
    connection = await session.connection()
    rows = (await connection.exec_driver_sql(f"SELECT {_counting(check)}")).scalar_one()
    found = await connection.exec_driver_sql(f"""
        SELECT place, fault, count(*) OVER () AS total FROM ({check.faults}) AS found (id, place, fault)
        ORDER BY id, place, fault LIMIT {MOST_TOLD}
    """)
    told = found.all()
    first = tuple(Fault(row.place, row.fault) for row in told)
    return Finding(check.name, rows, told[0].total if told else 0, first)


def _counting(check: Check) -> str:
    return " + ".join(f"(SELECT count(*) FROM {table})" for table in check.tables)


def _tables() -> Iterator[Table]:
    yield from sorted(Base.metadata.sorted_tables, key=lambda table: table.name)


def _place(table: Table, alias: str) -> str:
    """How a row of the table is named: by its key, or by where it stands if the key is a hash."""
    keys = [key for key in table.primary_key.columns if not isinstance(key.type, DateTime | LargeBinary)]
    joined = ", '/', ".join(f"{alias}.{key.name}" for key in keys)
    return f"concat('{table.name} ', {joined or f'{alias}.ctid'})"


def _sort_key(table: Table, alias: str) -> str:
    first = next(iter(table.primary_key.columns))
    return f"{alias}.{first.name}" if first.type.python_type is int else "0"


def _rules() -> Check:
    """What the models' CHECKs say of each row."""
    tables, parts = [], []
    for table in _tables():
        rules = {str(c.name): str(c.sqltext) for c in table.constraints if isinstance(c, CheckConstraint)}
        if not rules:
            continue
        values = ", ".join(f"('{name}', ({rules[name]}))" for name in sorted(rules))
        tables.append(table.name)
        parts.append(f"""
            SELECT {_sort_key(table, table.name)}, {_place(table, table.name)},
                format('breaks %s', rule.rule_name)
            FROM {table.name} CROSS JOIN LATERAL (VALUES {values}) AS rule (rule_name, holds)
            WHERE holds IS FALSE
        """)
    return Check("rules", tuple(tables), " UNION ALL ".join(parts))


def _references() -> Check:
    """What refers to something refers to something that is there."""
    held = {
        (table.name, key.parent.name, key.column.table.name)
        for table in _tables()
        for key in table.foreign_keys
    }
    tables, parts = [], []
    for child, column, parent in sorted(held | set(_UNHELD)):
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
    """No sequence stands behind the ids that are there: the next row would meet one of them."""
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


_HERE: Final = "current_schema()::regnamespace"
_OFF: Final = f"""
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
"""


def _guards() -> Check:
    """What holds the rules in the database is in force, as it may not be after a restore."""
    guards = f"pg_constraint WHERE connamespace = {_HERE}"
    triggers = f"pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE relnamespace = {_HERE}"
    return Check("guards", (guards, f"{triggers} AND NOT tgisinternal"), _OFF)


#: In the order in which they are told: what holds for any table first.
CHECKS: Final = (_guards(), _rules(), _references(), _versions(), _sequences(), *SHOP)
