"""Every statement on the audit log."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Final

from sqlalchemy import CTE, BigInteger, ColumnElement, Text, and_, bindparam, func, literal, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.audit.models import AuditAddress, AuditEntry
from service.platform.database import Session
from service.platform.database.pagination import Page

Data = Mapping[str, Any]

#: Any number does, as long as every release uses the same.
PARTITIONS_LOCK: Final = 7_061_853_217
MONTH: Final = "audit_addresses_%Y%m"
DEFAULT: Final = "audit_addresses_default"


@dataclass(frozen=True, slots=True)
class Filters:
    action: str | None = None
    actor_id: int | None = None
    target_kind: str | None = None
    target_id: int | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_CONDITIONS: Final[dict[str, Callable[[Any], ColumnElement[bool]]]] = {
    "action": lambda action: AuditEntry.action == action,
    "actor_id": lambda actor_id: AuditEntry.actor_id == actor_id,
    "target_kind": lambda kind: AuditEntry.target_kind == kind,
    "target_id": lambda target_id: AuditEntry.target_id == target_id,
    # A client quotes the id in its response: the service's, or its own.
    "request_id": lambda given: or_(AuditEntry.request_id == given, AuditEntry.caller_request_id == given),
    "since": lambda moment: AuditEntry.at >= moment,
    "until": lambda moment: AuditEntry.at < moment,
}


_addresses = (
    text("""
        INSERT INTO audit_addresses (audit_id, at, address)
        SELECT id, at, CAST(:audit_address AS inet) FROM audited WHERE :audit_address IS NOT NULL
    """)
    .bindparams(bindparam("audit_address", type_=Text))
    .columns()
    .cte("audited_addresses")
)


def _entries(given: str) -> tuple[CTE, CTE]:
    added = text(f"""
        INSERT INTO audit_log
            (action, actor_id, key_id, target_kind, target_id, data, request_id, caller_request_id)
        SELECT :audit_action, :audit_actor_id, :audit_key_id, :audit_target_kind, given.target_id, given.data,
            :audit_request_id, :audit_caller_request_id
        FROM {given} AS given (target_id, data)
        RETURNING id, at
    """).bindparams(
        *(
            bindparam(f"audit_{name}", type_=Text)
            for name in ("action", "target_kind", "request_id", "caller_request_id")
        ),
        *(bindparam(f"audit_{name}", type_=BigInteger) for name in ("actor_id", "key_id")),
        bindparam("audit_target_ids", type_=ARRAY(BigInteger)),
        bindparam("audit_datas", type_=ARRAY(JSONB)),
    )
    return added.columns().cte("audited"), _addresses


#: Entries and their addresses, however many, in the order of the targets. Domains above write them in one
#: statement with what they record.
ENTRIES: Final = _entries("unnest(:audit_target_ids, :audit_datas)")
#: The same for exactly one: to read the arrays as rows costs PostgreSQL a fifth of writing it.
ENTRY: Final = _entries("(SELECT (:audit_target_ids)[1], (:audit_datas)[1])")
_ADD: Final = select(literal(True)).add_cte(*ENTRIES)


async def add(session: Session, entries: Data) -> None:
    """`entries` are parameters of ENTRIES."""
    await session.rows(_ADD, entries)


async def find(session: Session, page: Page, filters: Filters) -> list[Any]:
    """Newest first. The rows have the shape of the schema AuditEntry."""
    address = and_(AuditAddress.audit_id == AuditEntry.id, AuditAddress.at == AuditEntry.at)
    statement = (
        select(*AuditEntry.__table__.columns, func.host(AuditAddress.address).label("address"))
        .outerjoin(AuditAddress, address)
        .order_by(AuditEntry.id.desc())
        .limit(page.fetch)
        .offset(page.skip)
    )
    for name, condition in _CONDITIONS.items():
        value = getattr(filters, name)
        if value is not None:
            statement = statement.where(condition(value))
    if page.after is not None:
        statement = statement.where(AuditEntry.id < page.after[0])
    return page.cut(await session.rows(statement), "id")


async def lock_months(session: Session) -> bool:
    """Whether no other process adds or drops partitions; none can until the transaction ends.

    A lock on a table is waited for less long than elsewhere: later statements on the table would queue
    behind it.
    """
    await session.execute(select(func.set_config("lock_timeout", "1s", True)))
    free: bool = await session.value(select(func.pg_try_advisory_xact_lock(PARTITIONS_LOCK)))
    return free


async def get_time(session: Session) -> datetime:
    now: datetime = await session.value(select(func.now()))
    return now


async def get_months(session: Session) -> list[date]:
    """The first days of the months that have a partition, in order."""
    names = await session.values(
        text(
            "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent = 'audit_addresses'::regclass AND relname ~ '_[0-9]{6}$' ORDER BY relname"
        )
    )
    return [datetime.strptime(name, MONTH).replace(tzinfo=UTC).date() for name in names]


async def add_month(session: Session, month: date, following: date) -> None:
    """Add the partition for the time from the first of `month` until `following`.

    Rows of that time that are in the default partition would keep this one from being attached; they are
    moved, under a lock that lets no more in. Only ATTACH lets others write to the table meanwhile:
    CREATE ... PARTITION OF would lock all of it.
    """
    name = month.strftime(MONTH)
    first, end = _instant(month), _instant(following)
    bounds = {"first": first, "end": end}
    await session.execute(text("LOCK TABLE ONLY audit_addresses IN SHARE UPDATE EXCLUSIVE MODE"))
    await session.execute(text(f"LOCK TABLE {DEFAULT} IN ACCESS EXCLUSIVE MODE"))
    await session.execute(text(f"CREATE TABLE {name} (LIKE audit_addresses INCLUDING ALL)"))
    await session.execute(
        text(
            f"WITH moved AS (DELETE FROM {DEFAULT} WHERE at >= :first AND at < :end RETURNING *)"
            f" INSERT INTO {name} SELECT * FROM moved"
        ),
        bounds,
    )
    await session.execute(
        text(f"ALTER TABLE audit_addresses ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{end}')")
    )


def _instant(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


async def drop_month(session: Session, month: date) -> None:
    await session.execute(text(f"DROP TABLE {month.strftime(MONTH)}"))


async def purge_default(session: Session, before: datetime) -> None:
    """Delete addresses that are in no month's partition."""
    await session.execute(text(f"DELETE FROM {DEFAULT} WHERE at < :before"), {"before": before})
