"""Recording what was done, and deleting client addresses in time: they are personal data."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import structlog

from service.audit import repository as audit
from service.identity import AnyCaller
from service.platform.database import Database, Session
from service.platform.telemetry import request_facts

Data = Mapping[str, Any]

log = structlog.get_logger(__name__)


async def record(
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
    """Record an action in the session's transaction, with the ids and the client address of the request.

    `action` is `noun.past_verb`. The actor is `by`, or `actor_id` or `key_id`, or unknown.
    Persons appear as ids, or in `data` as HMACs: never an address, a name or a token, for an entry can
    never be changed. Nor free text, which may hold all of these.
    """
    actor = (by.user_id, by.key_id) if by else (actor_id, key_id)
    await audit.add(session, _entries(action, actor, target_kind, {target_id: data or {}}))


def entries(
    action: str, *, by: AnyCaller | None, target_kind: str, targets: Mapping[int, Data]
) -> Mapping[str, Any]:
    """The parameters of ENTRIES for what `record_each` would record."""
    return _entries(action, (by.user_id, by.key_id) if by else (None, None), target_kind, targets)


async def record_each(
    session: Session, action: str, *, by: AnyCaller | None, target_kind: str, targets: Mapping[int, Data]
) -> None:
    """An entry for each target with its data, in one statement."""
    if targets:
        await audit.add(session, entries(action, by=by, target_kind=target_kind, targets=targets))


def _entries(
    action: str,
    actor: tuple[int | None, int | None],
    target_kind: str | None,
    targets: Mapping[int | None, Data] | Mapping[int, Data],
) -> Mapping[str, Any]:
    facts = request_facts.facts()
    return {
        "audit_action": action,
        "audit_actor_id": actor[0],
        "audit_key_id": actor[1],
        "audit_target_kind": target_kind,
        "audit_target_ids": list(targets),
        "audit_datas": list(targets.values()),
        "audit_request_id": facts.own_id,
        "audit_caller_request_id": facts.caller_request_id,
        "audit_address": _storable(facts.address),
    }


def _storable(address: str | None) -> str | None:
    """None for what is no network address, such as the name of a socket, and without an interface's name."""
    try:
        return str(ip_address((address or "").partition("%")[0]))
    except ValueError:
        return None


async def keep_addresses(database: Database, retention: timedelta, *, now: datetime | None = None) -> None:
    """Make the partitions of this month and the next, and drop those that are wholly too old.

    Each step is a transaction of its own: it must not hold the lock on one partition while it waits for
    that on the table. A step that another process is doing is left to that process.
    """
    if now is None:
        async with database.reading() as session:
            now = await audit.get_time(session)
    this = now.astimezone(UTC).date().replace(day=1)
    for month in (this, _following(this)):
        await _add(database, month)
    oldest = now - retention
    async with database.transaction() as session:
        if await audit.lock_months(session):
            for month in await audit.get_months(session):
                if _following(month) <= oldest.astimezone(UTC).date():
                    await audit.drop_month(session, month)
                    log.info("audit.month_dropped", month=f"{month:%Y-%m}")
    async with database.transaction() as session:
        await audit.purge_default(session, oldest)


async def _add(database: Database, month: date) -> None:
    async with database.transaction() as session:
        if await audit.lock_months(session) and month not in await audit.get_months(session):
            await audit.add_month(session, month, _following(month))
            log.info("audit.month_added", month=f"{month:%Y-%m}")


def _following(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)
