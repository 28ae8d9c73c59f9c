"""Every statement on the audit log."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from ipaddress import ip_address
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Text, and_, bindparam, func, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from service.audit.models import AuditAddress, AuditEntry
from service.identity.callers import AnyCaller
from service.platform.database import Session
from service.platform.database.pagination import Page
from service.platform.telemetry import request

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
    # A client quotes the id that it has been answered with: ours, or its own.
    "request_id": lambda given: or_(AuditEntry.request_id == given, AuditEntry.caller_request_id == given),
    "since": lambda moment: AuditEntry.at >= moment,
    "until": lambda moment: AuditEntry.at < moment,
}


#: Entries and their addresses in one round trip, however many; in the order of the targets.
_NOTE = text("""
    WITH noted AS (
        INSERT INTO audit_log
            (action, actor_id, key_id, target_kind, target_id, data, request_id, caller_request_id)
        SELECT :action, :actor_id, :key_id, :target_kind, given.target_id, CAST(given.data AS jsonb),
            :request_id, :caller_request_id
        FROM unnest(:target_ids, :datas) AS given (target_id, data)
        RETURNING id, at
    )
    INSERT INTO audit_addresses (audit_id, at, address)
    SELECT id, at, CAST(:address AS inet) FROM noted WHERE :address IS NOT NULL
""").bindparams(
    *(bindparam(name, type_=Text) for name in ("action", "target_kind", "request_id", "caller_request_id")),
    *(bindparam(name, type_=BigInteger) for name in ("actor_id", "key_id")),
    bindparam("address", type_=Text),
    bindparam("target_ids", type_=ARRAY(BigInteger)),
    bindparam("datas", type_=ARRAY(Text)),
)


async def add(
    session: Session,
    action: str,
    *,
    by: AnyCaller | None = None,
    actor_id: int | None = None,
    key_id: int | None = None,
    target_kind: str | None = None,
    target_id: int | None = None,
    data: Data | None = None,
) -> None:
    """Note what has been done, in its own transaction, with the ids and the address of the request.

    `action` is `noun.past_verb`. Whoever did it is `by`, or `actor_id` or `key_id`, or a stranger.
    Persons appear as ids, or in `data` as HMACs: never an address, a name or a token, for an entry can
    never be changed. Nor anything that somebody has written freely, which may hold all of these.
    """
    actor_id = by.user_id if by else actor_id
    key_id = by.key_id if by else key_id
    who = {"actor_id": actor_id, "key_id": key_id}
    await _note(session, {"action": action, **who, "target_kind": target_kind}, {target_id: data or {}})


async def add_each(
    session: Session, action: str, *, by: AnyCaller | None, target_kind: str, targets: Mapping[int, Data]
) -> None:
    """An entry for each target with its data, in one statement."""
    if not targets:
        return
    who = {"actor_id": by.user_id if by else None, "key_id": by.key_id if by else None}
    await _note(session, {"action": action, **who, "target_kind": target_kind}, targets)


async def _note(
    session: Session, common: Data, targets: Mapping[int | None, Data] | Mapping[int, Data]
) -> None:
    facts = request.facts()
    values = {
        "request_id": facts.own_id,
        "caller_request_id": facts.caller_request_id,
        "address": _storable(facts.address),
        "target_ids": list(targets),
        "datas": [json.dumps(data) for data in targets.values()],
    }
    await session.execute(_NOTE, {**common, **values})


def _storable(address: str | None) -> str | None:
    """None for what is no network address, such as the name of a socket, and without an interface's name."""
    try:
        return str(ip_address((address or "").partition("%")[0]))
    except ValueError:
        return None


async def find(session: Session, page: Page, filters: Filters) -> list[Any]:
    """Newest first. The rows have the shape of schemas.audit.AuditEntry."""
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
    return page.cut((await session.execute(statement)).all(), "id")


async def lock_months(session: Session) -> bool:
    """Whether nobody else is adding or dropping partitions; nobody can until the transaction ends.

    A lock on a table is not waited for as long as elsewhere: whoever comes to the table after this
    would wait behind it.
    """
    await session.execute(select(func.set_config("lock_timeout", "1s", True)))
    free: bool = (await session.execute(select(func.pg_try_advisory_xact_lock(PARTITIONS_LOCK)))).scalar_one()
    return free


async def get_months(session: Session) -> list[date]:
    """The first days of the months that have a partition, in order."""
    names = await session.scalars(
        text(
            "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent = 'audit_addresses'::regclass AND relname ~ '_[0-9]{6}$' ORDER BY relname"
        )
    )
    return [datetime.strptime(name, MONTH).replace(tzinfo=UTC).date() for name in names]


async def add_month(session: Session, month: date, following: date) -> None:
    """A partition for what comes from the first of `month` until `following`, and for what has come.

    What has come stands in the default partition, where it would keep this one from being attached; it
    is moved, under a lock that lets nothing more in. Only ATTACH lets others write to the table
    meanwhile: CREATE ... PARTITION OF would lock all of it.
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


async def forget_addresses(session: Session, before: datetime) -> None:
    """Of those that stand in no month's partition."""
    await session.execute(text(f"DELETE FROM {DEFAULT} WHERE at < :before"), {"before": before})
